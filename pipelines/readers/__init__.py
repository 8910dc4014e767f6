"""Where recordings come from: one file a layout. A reader is `Config` and `recordings(cfg, root)`."""
