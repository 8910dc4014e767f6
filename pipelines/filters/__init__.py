"""Why a segment is dropped: one file a filter. A filter is `Config`, `SCORE` and `keep(segment, cfg)`."""
