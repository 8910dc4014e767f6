"""Other people's networks, one file each, imported when used, never trained, never downloaded."""
