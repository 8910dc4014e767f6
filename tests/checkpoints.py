"""Small random checkpoints in the layouts of the released ones, for loading code that is to be tested for real."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml

SANM: dict[str, Any] = {
    "output_size": 32, "attention_heads": 2, "linear_units": 32, "num_blocks": 2, "input_layer": "pe",
    "pos_enc_class": "SinusoidalPositionEncoder", "kernel_size": 11, "sanm_shfit": 0,
    "selfattention_layer_type": "sanm",
}  # fmt: skip
FRONT_END: dict[str, Any] = {
    "frontend": "WavFrontend",
    "frontend_conf": {
        "fs": 16000, "window": "hamming", "n_mels": 80, "frame_length": 25, "frame_shift": 10, "lfr_m": 7, "lfr_n": 6,
        "dither": 1.0,
    },
}  # fmt: skip
PARAFORMER: dict[str, Any] = {
    "model": "Paraformer",
    "model_conf": {"ctc_weight": 0.0, "predictor_weight": 1.0, "predictor_bias": 1, "sampling_ratio": 0.75},
    "encoder": "SANMEncoder",
    "encoder_conf": SANM,
    "decoder": "ParaformerSANMDecoder",
    "decoder_conf": {
        "attention_heads": 2, "linear_units": 32, "num_blocks": 1, "att_layer_num": 1, "kernel_size": 11,
        "sanm_shfit": 0,
    },
    "predictor": "CifPredictorV2",
    "predictor_conf": {"idim": 32, "threshold": 1.0, "l_order": 1, "r_order": 1, "tail_threshold": 0.45},
    "tokenizer": "CharTokenizer",
    "tokenizer_conf": {"unk_symbol": "<unk>", "split_with_space": True},
    "input_size": 560,
    **FRONT_END,
}  # fmt: skip
TIMED: dict[str, Any] = {
    **PARAFORMER,
    "model": "BiCifParaformer",
    "predictor": "CifPredictorV3",
    "predictor_conf": {
        **PARAFORMER["predictor_conf"], "smooth_factor2": 0.25, "noise_threshold2": 0.01, "upsample_times": 3,
        "use_cif1_cnn": False, "upsample_type": "cnn_blstm",
    },
}  # fmt: skip
"""The Paraformer that also says when: a second predictor, of three times the frames."""
CMVN = (
    "<Nnet>\n<Splice> 560 560\n[ 0 ]\n<AddShift> 560 560\n<LearnRateCoef> 0 [ {} ]\n"
    "<Rescale> 560 560\n<LearnRateCoef> 0 [ {} ]\n</Nnet>\n"
)
SENSEVOICE: dict[str, Any] = {
    "model": "SenseVoiceSmall",
    "model_conf": {"length_normalized_loss": True, "sos": 1, "eos": 2, "ignore_id": -1},
    "encoder": "SenseVoiceEncoderSmall",
    "encoder_conf": {**SANM, "tp_blocks": 1},
    "tokenizer": "SentencepiecesTokenizer",
    "tokenizer_conf": {"bpemodel": None, "unk_symbol": "<unk>", "split_with_space": True},
    **FRONT_END,
}
CT_PUNC: dict[str, Any] = {
    "model": "CTTransformer",
    "model_conf": {"ignore_id": 0, "embed_unit": 32, "att_unit": 32, "dropout_rate": 0.1,
                   "punc_list": ["<unk>", "_", "，", "。", "？", "、"], "punc_weight": [1.0] * 6, "sentence_end_id": 3},
    "encoder": "SANMEncoder",
    "encoder_conf": {**SANM, "input_size": 32},
    "tokenizer": "CharTokenizer",
    "tokenizer_conf": {"unk_symbol": "<unk>", "split_with_space": False, "split_char": False},
}  # fmt: skip


def write_whisper(path: Path, *, mels: int = 80, vocabulary: int = 51865) -> Path:
    """As OpenAI writes it, with one layer; 128 mels and 51866 tokens are the layout of large-v3."""
    from whisper.model import ModelDimensions, Whisper

    torch.manual_seed(0)
    network = Whisper(ModelDimensions(mels, 1500, 16, 2, 1, vocabulary, 448, 16, 2, 1))
    torch.nn.init.normal_(network.decoder.positional_embedding, std=0.02)  # whisper leaves it as the memory was
    torch.save({"dims": asdict(network.dims), "model_state_dict": network.state_dict()}, path)
    return path


def write_faster_whisper(folder: Path) -> Path:
    """As ct2-transformers-converter writes it, with one layer; its vocabulary is bytes, marks, and idle tokens.

    There are as many, the empty one among them, as the engine takes for a sign of a multilingual network.
    """
    from ctranslate2.converters.transformers import WhisperLoader
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import WhisperConfig, WhisperForConditionalGeneration
    from whisper.tokenizer import LANGUAGES

    bytes_ = sorted(pre_tokenizers.ByteLevel.alphabet())
    named = ["<|endoftext|>", "<|startoftranscript|>", *(f"<|{code}|>" for code in LANGUAGES), "<|translate|>"]
    named += ["<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
    named += [f"<|{step * 0.02:.2f}|>" for step in range(1501)]
    letters = bytes_ + [f"idle{number}" for number in range(51865 - len(bytes_) - len(named))] + [""]
    tokens = letters + named
    end = len(letters)
    words = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(letters)}, merges=[]))
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    words.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in named])
    config = WhisperConfig(
        vocab_size=len(tokens), d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, pad_token_id=end, bos_token_id=end,
        eos_token_id=end, decoder_start_token_id=end + 1,
    )  # fmt: skip
    torch.manual_seed(0)
    loader = WhisperLoader()
    spec = loader.get_model_spec(WhisperForConditionalGeneration(config).eval())
    loader.set_vocabulary(spec, tokens)
    spec.config.lang_ids = [tokens.index(f"<|{code}|>") for code in LANGUAGES]
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = []
    spec.config.alignment_heads = [[0, 0]]
    spec.validate()
    spec.optimize()
    spec.save(str(folder))
    words.save(str(folder / "tokenizer.json"))
    return folder


def write_paraformer(folder: Path, config: dict[str, Any] = PARAFORMER) -> Path:
    """A folder as FunASR lays it out, with random weights of the network that its config.yaml describes."""
    tokens = ["<blank>", "<s>", "</s>", "今", "天", "好", "<unk>"]
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "tokens.json").write_text(json.dumps(tokens))
    write_statistics(folder)
    from models.frozen.funasr import quiet

    with quiet():
        import funasr  # noqa: F401  registers the networks
        from funasr.register import tables

        kept = {key: value for key, value in config.items() if not key.startswith(("model", "front", "token"))}
        torch.manual_seed(0)
        network = tables.model_classes[config["model"]](**kept, **config["model_conf"], vocab_size=len(tokens))
    torch.save(network.state_dict(), folder / "model.pt")
    return folder


def write_sensevoice(folder: Path) -> Path:
    """A folder as FunASR lays SenseVoiceSmall out, its sentence pieces trained on a few lines."""
    import sentencepiece

    from models.frozen.funasr import quiet

    tags = ["<|zh|>", "<|en|>", "<|nospeech|>", "<|NEUTRAL|>", "<|Speech|>", "<|woitn|>"]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["今天 好", "the ferry leaves at seven", "天 好 今"] * 20),
        model_prefix=str(folder / "tiny.bpe"), vocab_size=48, model_type="bpe", user_defined_symbols=tags,
        minloglevel=2,
    )  # fmt: skip
    (folder / "tiny.bpe.vocab").unlink()
    (folder / "config.yaml").write_text(yaml.safe_dump(SENSEVOICE))
    files = {"model": "model.pt", "tokenizer_conf": {"bpemodel": "tiny.bpe.model"}}
    described = {
        "framework": "pytorch", "task": "auto-speech-recognition", "model": {"type": "funasr"},
        "file_path_metas": {
            "init_param": files["model"], "config": "config.yaml", "tokenizer_conf": files["tokenizer_conf"],
            "frontend_conf": {"cmvn_file": "am.mvn"},
        },
    }  # fmt: skip
    (folder / "configuration.json").write_text(json.dumps(described))
    write_statistics(folder)
    with quiet():
        import funasr  # noqa: F401  registers the encoder
        from funasr.models.sense_voice.model import SenseVoiceSmall

        torch.manual_seed(0)
        network = SenseVoiceSmall(
            encoder=SENSEVOICE["encoder"], encoder_conf=SENSEVOICE["encoder_conf"], input_size=560, vocab_size=48,
            **SENSEVOICE["model_conf"],
        )  # fmt: skip
    torch.save(network.state_dict(), folder / "model.pt")
    return folder


def write_ct_punc(folder: Path) -> Path:
    """A folder as FunASR lays ct-punc out."""
    from models.frozen.funasr import quiet

    tokens = ["<blank>", "<s>", "</s>", "今", "天", "好", "hello", "there", "<unk>"]
    (folder / "config.yaml").write_text(yaml.safe_dump(CT_PUNC))
    (folder / "tokens.json").write_text(json.dumps(tokens))
    with quiet():
        from funasr.models.ct_transformer.model import CTTransformer

        torch.manual_seed(0)
        network = CTTransformer(
            encoder=CT_PUNC["encoder"], encoder_conf=CT_PUNC["encoder_conf"], vocab_size=len(tokens),
            **CT_PUNC["model_conf"],
        )  # fmt: skip
    torch.save(network.state_dict(), folder / "model.pt")
    return folder


def write_statistics(folder: Path) -> None:
    """Means and variances that change nothing."""
    (folder / "am.mvn").write_text(CMVN.format(" ".join(["0"] * 560), " ".join(["1"] * 560)))
