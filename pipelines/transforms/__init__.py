"""What is done to a clip: one file a transform: `Config`, `SETS`, `READS`, `CHANGES_WAVE` and `Transform(cfg)(clips)`.

`SETS` names the fields of a segment that it writes, `READS` those of other transforms that it looks at, `CHANGES_WAVE`
says whether it may replace the waveform. It returns one clip, or one `Rejected`, for each clip, in order; it needs no
Ray, writes no file, loads its networks on the first call, and says which they are in `fingerprint`: part of the resume
key, beside its settings and its code (pipelines.recipe).
"""
