"""Sizes of the networks: numbers only. A smaller model is a smaller preset, never other code."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class DiTConfig:
    """Diffusion transformer (spec network 1.1). Widths in channels, lengths in tokens or frames."""

    dim: int
    num_heads: int
    ffn_dim: int
    num_layers: int
    text_dim: int = 4096
    text_len: int = 512
    audio_dim: int = 10752
    audio_hidden: int = 32
    latent_channels: int = 16
    in_dim: int = 65
    freq_dim: int = 256
    patch: tuple[int, int, int] = (1, 2, 2)
    residual: bool = False
    """The output layer gives x0 minus the reference sequence instead of the flow, and starts at zero. A flow contains
    the noise, which a network narrower than its patches cannot carry; and most of the source stays as it is."""

    @property
    def head_dim(self) -> int:
        return self.dim // self.num_heads

    @property
    def audio_projections(self) -> int:
        """Blocks 2 ... N // 2 hear the sound."""
        return self.num_layers // 2 - 1


@dataclass(frozen=True)
class LoRAConfig:
    """Low-rank pairs on the ten linear layers of every block (spec network 5.1)."""

    rank: int = 128
    alpha: float = 64.0

    @property
    def scale(self) -> float:
        return self.alpha / self.rank


@dataclass(frozen=True)
class WindowConfig:
    """What a chunk may see, in latent frames (spec network 6.2). `window` <= 0 is unlimited."""

    chunk: int = 3
    window: int = 7
    sink: int = 1
    dynamic_rope: bool = True


@dataclass(frozen=True)
class TinyVAEConfig:
    """TAEHV (spec inference 6.7). Stage tuples run from the input side of the encoder or decoder."""

    image_channels: int = 3
    latent_channels: int = 16
    patch_size: int = 1
    encoder_stem: int = 64
    encoder_widths: tuple[int, ...] = (64, 64, 64)
    encoder_time_downscale: tuple[bool, ...] = (True, True, False)
    encoder_space_downscale: tuple[bool, ...] = (True, True, True)
    decoder_widths: tuple[int, ...] = (256, 128, 64)
    decoder_tail: int = 64
    decoder_time_upscale: tuple[bool, ...] = (False, True, True)
    decoder_space_upscale: tuple[bool, ...] = (True, True, True)
    encoder_blocks: int = 3
    decoder_blocks: int = 3
    encoder_kernel: int = 3
    """Cells across of the encoder's convolutions; 1 sees every patch for itself."""
    head_kernel: int = 3
    """Of the decoder's last two convolutions, of which the latter draws patches."""

    @property
    def space_factor(self) -> int:
        return self.patch_size * 2 ** sum(self.encoder_space_downscale)


@dataclass(frozen=True)
class WanVAEConfig:
    """The Wan 2.1 video autoencoder (spec inference 6). Stage tuples run from high to low resolution."""

    dim: int = 96
    latent_channels: int = 16
    dim_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    time_downscale: tuple[bool, ...] = (False, True, True)
    latent_mean: tuple[float, ...] = (
        -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
        0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
    )  # fmt: skip
    latent_std: tuple[float, ...] = (
        2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
        3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
    )  # fmt: skip

    @property
    def space_factor(self) -> int:
        return 2 ** (len(self.dim_mult) - 1)


@dataclass(frozen=True)
class LogMelConfig:
    """Nano's audio encoder: log-mel bands and a small convolutional network at 25 frames a second.

    `memory` is the time, in video frames, over which it knows the speaker's average spectrum.
    """

    sample_rate: int = 16000
    fps: int = 25
    bands: int = 64
    n_fft: int = 512
    hops_per_frame: int = 4
    width: int = 192
    layers: int = 5
    look_ahead: int = 5
    memory: int = 50
    mouth_params: int = 6
    features: int = 64


@dataclass(frozen=True)
class Wav2Vec2Config:
    """wav2vec2-base (spec inference 3). `span` and `context`, in video frames, bound the memory for long files."""

    hidden_size: int = 768
    num_layers: int = 12
    num_heads: int = 12
    intermediate_size: int = 3072
    conv_dim: tuple[int, ...] = (512,) * 7
    conv_kernel: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    conv_stride: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    position_taps: int = 128
    position_groups: int = 16
    samples_per_frame: int = 640
    span: int = 250
    context: int = 125

    @property
    def features(self) -> int:
        """Width of one frame's features: every hidden state, and the last one twice."""
        return (self.num_layers + 2) * self.hidden_size


@dataclass(frozen=True)
class UMT5Config:
    """The UMT5-XXL encoder (spec inference 4)."""

    vocab: int = 256384
    dim: int = 4096
    ffn_dim: int = 10240
    num_heads: int = 64
    head_dim: int = 64
    num_layers: int = 24
    num_buckets: int = 32
    max_distance: int = 128
    length: int = 512


@dataclass(frozen=True)
class SyncNetConfig:
    """SyncNet v2 (spec training 3.3). Widths of the six convolutions of each tower; windows in frames and MFCC rows."""

    face_widths: tuple[int, ...] = (96, 256, 256, 256, 256, 512)
    sound_widths: tuple[int, ...] = (64, 192, 384, 256, 256, 512)
    hidden: int = 512
    embedding: int = 1024
    face_size: int = 224
    frames: int = 5
    cepstra: int = 13
    rows: int = 20
    rows_per_frame: int = 4


@dataclass(frozen=True)
class Preset:
    """Everything that distinguishes one size of the student from another."""

    name: str
    face_size: int
    dit: DiTConfig
    window: WindowConfig = field(default_factory=WindowConfig)
    tiny_vae: TinyVAEConfig = field(default_factory=TinyVAEConfig)
    wan_vae: WanVAEConfig | None = None
    """Makes the latents where there is one; else the tiny autoencoder does."""
    audio: LogMelConfig | Wav2Vec2Config = field(default_factory=Wav2Vec2Config)
    sync_net: SyncNetConfig = field(default_factory=SyncNetConfig)
    t_list: tuple[float, ...] = (0.999, 0.769, 0.0)
    keep_detail: bool = False
    """Give back what the autoencoder loses: the source's own where nothing moved (`sampling/detail.py`), earlier
    mouths' where the mouth did (`sampling/recall.py`)."""
    steady_mouth: bool = False
    """Show the network the mean of the source's lips in place of their movement (`sampling/steady_mouth.py`); weights
    that were trained so say it themselves."""
    summary: str = ""

    @property
    def latent_size(self) -> int:
        """Latent cells along one side of the aligned face."""
        return self.face_size // (self.wan_vae or self.tiny_vae).space_factor

    @property
    def hears_samples(self) -> bool:
        """Whether the ear is part of the stream's step; else features of the sound are made beforehand."""
        return isinstance(self.audio, LogMelConfig)


def _wan(name: str, dim: int, heads: int, ffn: int, layers: int, summary: str) -> Preset:
    return Preset(name, 512, DiTConfig(dim, heads, ffn, layers), wan_vae=WanVAEConfig(), summary=summary)


PRESETS = {
    "nano": Preset(
        "nano",
        face_size=128,
        # Patches of 2x4 latent cells: 32 tokens a frame instead of 64, so a CPU can train and run it. Lips move up and
        # down, so patches are flat.
        dit=DiTConfig(
            dim=288, num_heads=8, ffn_dim=576, num_layers=6, text_dim=16, text_len=1,
            audio_dim=64, audio_hidden=64, freq_dim=64, patch=(1, 2, 4), residual=True,
        ),
        # All layers work on 8x8 pixel patches: wide, coarse convolutions are what a CPU is good at. The encoder is
        # principal components of single patches (`training/principal.py`), for which kernels of one cell are enough.
        tiny_vae=TinyVAEConfig(
            patch_size=8, encoder_stem=32, encoder_widths=(32, 32), encoder_time_downscale=(True, True),
            encoder_space_downscale=(False, False), decoder_widths=(48, 72), decoder_tail=72,
            decoder_time_upscale=(True, True), decoder_space_upscale=(False, False),
            encoder_blocks=0, decoder_blocks=1, encoder_kernel=1, head_kernel=1,
        ),
        audio=LogMelConfig(),
        # Most of the work is the face's first layer: half of the size is a quarter of it, and each of SyncNet's pixels
        # is the mean of 2x2 of the face.
        sync_net=SyncNetConfig(
            face_widths=(16, 48, 64, 64, 64, 128), sound_widths=(16, 32, 64, 64, 64, 128),
            hidden=128, embedding=128, face_size=64,
        ),
        keep_detail=True,
        summary="bundled; trained from scratch on synthetic talkers; any laptop",
    ),
    "1.3b": _wan("1.3b", 1536, 12, 8960, 30, "student of the paper; weights must be converted"),
    "14b": _wan("14b", 5120, 40, 13824, 40, "released student; weights must be converted"),
}  # fmt: skip


def by_name(name: str) -> Preset:
    """The preset called `name`. Raises KeyError for an unknown one; the caller says which exist."""
    return PRESETS[name]
