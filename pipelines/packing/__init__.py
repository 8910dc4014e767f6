"""From samples to shards and on: byte-exact tars, their index, copies in object stores, views for other loaders."""
