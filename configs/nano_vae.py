"""Nano, part 2 of 3: the tiny video autoencoder, on crops of drawn talkers and dead-leaves pictures.

    lipforcing train --config configs/nano_vae.py --workdir runs/nano

The mouths are those of the speech that nano_audio.py leaves in the workdir, which is made if it is not there.

Result of the bundled weights, made by `lips_weight=40.0 clips=500 steps=2500` in 6 minutes on two cores (18 on one of
them beside other work): held-out talkers come back at 32.4 dB in the mouth box, and the opening of their mouths
correlates 0.94 with their own. By absolute differences, without that weight and after 17 200 updates it was 32.8 dB and
0.93.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict(
        {
            "stage": "tiny_vae",
            "preset": "nano",
            "seed": 0,
            "clips": 1000,
            "clip_frames": 12,
            "speech_clips": 1200,
            "speech_frames": 129,
            "leaves": 0.08,
            "component_stride": 2,
            "lips_weight": 1.0,  # how much patches where lips move count in the components
            "steps": 4000,
            "batch": 6,
            "frames": 12,
            "crop": 64,
            "peak_lr": 6e-4,
            "warmup": 50,
            "weight_decay": 0.01,
            "clip_norm": 1.0,
            "average_decay": 0.998,
            "latent_noise": 0.25,
            "save_every": 200,
        }
    )
