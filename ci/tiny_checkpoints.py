"""Build tiny, randomly initialised checkpoints in the layout of the real pre-trained generators.

usage: python ci/tiny_checkpoints.py DIR [NAME ...]

They are folders of a few hundred kilobytes in safetensors that ``from_pretrained`` loads with the
hub offline, so the code that calls Stable Diffusion, SpeechT5 and AudioLDM is tested without a
download. What they make is noise. Without a name, all are built; ``speecht5`` needs sentencepiece.
"""

import argparse
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, DDIMScheduler
    from transformers import (
        ClapTextConfig,
        CLIPTokenizer,
        RobertaTokenizer,
        SpeechT5HifiGan,
        T5Tokenizer,
    )

ALPHABET = "abcdefghijklmnopqrstuvwxyz"
MELS = 16
SPEAKER = 16
"""Width of an x-vector; the real one has 512."""


def stable_diffusion(folder: Path) -> None:
    """Save a ``StableDiffusionPipeline`` that makes 32x32 images in colour."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline
    from diffusers import UNet2DConditionModel as UNet
    from transformers import CLIPTextConfig, CLIPTextModel

    tokenizer = _clip_tokenizer()
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=32,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    StableDiffusionPipeline(
        vae=AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            block_out_channels=(8, 16),
            norm_num_groups=4,
            sample_size=32,
        ),
        text_encoder=CLIPTextModel(text),
        tokenizer=tokenizer,
        unet=UNet(
            sample_size=16,
            block_out_channels=(16, 32),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=16,
            attention_head_dim=8,
            norm_num_groups=8,
        ),
        scheduler=DDIMScheduler(steps_offset=1, clip_sample=False, prediction_type="v_prediction"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)


def speecht5(folder: Path) -> None:
    """Save a ``SpeechT5ForTextToSpeech`` and its processor; a tokenizer of single letters."""
    from transformers import (
        SpeechT5Config,
        SpeechT5FeatureExtractor,
        SpeechT5ForTextToSpeech,
        SpeechT5Processor,
        SpeechT5Tokenizer,
    )

    with tempfile.TemporaryDirectory() as scratch:
        tokenizer = SpeechT5Tokenizer(str(_letters_for_sentencepiece(Path(scratch))))
        SpeechT5Processor(
            feature_extractor=SpeechT5FeatureExtractor(num_mel_bins=MELS), tokenizer=tokenizer
        ).save_pretrained(folder)
    model = SpeechT5ForTextToSpeech(
        SpeechT5Config(
            vocab_size=len(tokenizer),
            hidden_size=16,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=32,
            decoder_ffn_dim=32,
            num_mel_bins=MELS,
            speech_decoder_prenet_units=16,
            speech_decoder_postnet_layers=2,
            speech_decoder_postnet_units=16,
            speaker_embedding_dim=SPEAKER,
        )
    )
    # Random weights would fall silent after the first step.
    torch.nn.init.constant_(model.speech_decoder_postnet.prob_out.bias, -4.0)
    model.save_pretrained(folder)


def speecht5_hifigan(folder: Path) -> None:
    """Save the vocoder that makes sound at 16 kHz of SpeechT5's spectra."""
    _vocoder([4, 4, 4, 4]).save_pretrained(folder)


def audioldm(folder: Path) -> None:
    """Save an ``AudioLDMPipeline``."""
    from diffusers import AudioLDMPipeline
    from diffusers import UNet2DConditionModel as UNet
    from transformers import ClapTextModelWithProjection

    tokenizer = _roberta_tokenizer()
    AudioLDMPipeline(
        vae=_sound_autoencoder(),
        text_encoder=ClapTextModelWithProjection(_reading(tokenizer)),
        tokenizer=tokenizer,
        unet=UNet(
            sample_size=MELS,
            in_channels=8,
            out_channels=8,
            block_out_channels=(8, 16),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=(8, 16),
            attention_head_dim=8,
            norm_num_groups=4,
            class_embed_type="simple_projection",
            projection_class_embeddings_input_dim=8,
            class_embeddings_concat=True,
        ),
        scheduler=_sound_scheduler(),
        vocoder=_vocoder([10, 8, 2]),
    ).save_pretrained(folder)


def audioldm2(folder: Path) -> None:
    """Save an ``AudioLDM2Pipeline`` whose language model has no head, as that on the hub."""
    from diffusers import (
        AudioLDM2Pipeline,
        AudioLDM2ProjectionModel,
        AudioLDM2UNet2DConditionModel,
    )
    from transformers import (
        ClapAudioConfig,
        ClapConfig,
        ClapFeatureExtractor,
        ClapModel,
        GPT2Config,
        GPT2Model,
        T5Config,
        T5EncoderModel,
    )

    language = {"n_embd": 16, "n_layer": 1, "n_head": 2, "vocab_size": 8}
    language |= {"bos_token_id": 0, "eos_token_id": 0, "max_new_tokens": 8}
    roberta, t5 = _roberta_tokenizer(), _t5_tokenizer()
    hearing = ClapAudioConfig(
        spec_size=64,
        window_size=4,
        num_mel_bins=16,
        depths=[1, 1],
        num_attention_heads=[1, 1],
        num_hidden_layers=2,
        hidden_size=32,
        patch_size=8,
        patch_embeds_hidden_size=16,
        projection_dim=8,
    )
    AudioLDM2Pipeline(
        vae=_sound_autoencoder(),
        text_encoder=ClapModel(
            ClapConfig(
                text_config=_reading(roberta).to_dict(),
                audio_config=hearing.to_dict(),
                projection_dim=8,
            )
        ),
        text_encoder_2=T5EncoderModel(
            T5Config(vocab_size=len(t5), d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
        ),
        projection_model=AudioLDM2ProjectionModel(
            text_encoder_dim=8, text_encoder_1_dim=16, langauge_model_dim=16
        ),
        language_model=GPT2Model(GPT2Config.from_dict(language)),
        tokenizer=roberta,
        tokenizer_2=t5,
        feature_extractor=ClapFeatureExtractor(feature_size=16),
        unet=AudioLDM2UNet2DConditionModel(
            sample_size=MELS,
            in_channels=8,
            out_channels=8,
            block_out_channels=(8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            cross_attention_dim=[[None, 16, 16]] * 2,
            transformer_layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=8,
        ),
        scheduler=_sound_scheduler(),
        vocoder=_vocoder([10, 8, 2]),
    ).save_pretrained(folder)


CHECKPOINTS: Mapping[str, Callable[[Path], None]] = {
    "stable_diffusion": stable_diffusion,
    "speecht5": speecht5,
    "speecht5_hifigan": speecht5_hifigan,
    "audioldm": audioldm,
    "audioldm2": audioldm2,
}


def build(name: str, root: Path) -> Path:
    """Build a checkpoint in ``root / name``, always with the same weights; return the folder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        CHECKPOINTS[name](root / name)
    return root / name


def _sound_autoencoder() -> "AutoencoderKL":
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        in_channels=1,
        out_channels=1,
        latent_channels=8,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 16),
        norm_num_groups=4,
    )


def _sound_scheduler() -> "DDIMScheduler":
    from diffusers import DDIMScheduler

    # AudioLDM's own values, which are not the scheduler's defaults.
    return DDIMScheduler(
        beta_start=0.0015,
        beta_end=0.0195,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def _vocoder(upsample_rates: list[int]) -> "SpeechT5HifiGan":
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    return SpeechT5HifiGan(
        SpeechT5HifiGanConfig(
            model_in_dim=MELS,
            upsample_initial_channel=2 ** (len(upsample_rates) + 1),
            upsample_rates=upsample_rates,
            upsample_kernel_sizes=[2 * rate for rate in upsample_rates],
            resblock_kernel_sizes=[3],
            resblock_dilation_sizes=[[1]],
            normalize_before=False,
            # Large enough that what random weights make is no silence, and not all at its loudest.
            initializer_range=0.2,
        )
    )


def _reading(tokenizer: "RobertaTokenizer") -> "ClapTextConfig":
    from transformers import ClapTextConfig

    return ClapTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=40,
        pad_token_id=tokenizer.pad_token_id,
        projection_dim=8,
    )


def _clip_tokenizer() -> "CLIPTokenizer":
    from transformers import CLIPTokenizer

    letters = [letter + end for end in ("", "</w>") for letter in ALPHABET]
    words = [*letters, "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={word: number for number, word in enumerate(words)}, merges=[], model_max_length=32
    )


def _roberta_tokenizer() -> "RobertaTokenizer":
    from transformers import RobertaTokenizer

    # Its pieces begin with a mark for the blank before them.
    words = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "Ġ", *ALPHABET]
    return RobertaTokenizer(
        vocab={word: number for number, word in enumerate(words)}, merges=[], model_max_length=32
    )


def _t5_tokenizer() -> "T5Tokenizer":
    from transformers import T5Tokenizer

    pieces = ["<pad>", "</s>", "<unk>", "▁", *ALPHABET]
    return T5Tokenizer(
        vocab=[(piece, -float(number)) for number, piece in enumerate(pieces)],
        extra_ids=0,
        model_max_length=32,
    )


def _letters_for_sentencepiece(folder: Path) -> Path:
    """Train a sentencepiece model of single letters and return its file."""
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([ALPHABET, " ".join(ALPHABET)]),
        model_prefix=str(folder / "letters"),
        model_type="char",
        vocab_size=len(ALPHABET) + 5,
        bos_id=0,
        pad_id=1,
        eos_id=2,
        unk_id=3,
        minloglevel=2,
    )
    return folder / "letters.model"


def main() -> None:
    """Build the checkpoints that the command line names in the folder it names."""
    parser = argparse.ArgumentParser(description="Build tiny checkpoints with random weights.")
    parser.add_argument("root", type=Path, metavar="DIR")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(CHECKPOINTS))
    chosen = parser.parse_args()
    if unknown := sorted(set(chosen.names) - CHECKPOINTS.keys()):
        parser.error(f"there is no {unknown[0]}; choose from {', '.join(CHECKPOINTS)}.")
    for name in chosen.names or CHECKPOINTS:
        print(build(name, chosen.root))


if __name__ == "__main__":
    main()
