"""What transforms share: voices, backgrounds, opinions, texts and their agreement; pure functions, mostly."""
