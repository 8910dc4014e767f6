"""The same sound twice: prints of audio, exact and near copies, evaluation sets kept out."""
