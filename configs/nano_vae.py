"""Nano, part 2 of 3: the tiny video autoencoder, on crops of drawn talkers and dead-leaves pictures.

    lipforcing train --config configs/nano_vae.py --workdir runs/nano
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict(
        {
            "stage": "tiny_vae",
            "preset": "nano",
            "seed": 0,
            "clips": 510,
            "clip_frames": 12,
            "leaves": 0.12,
            "steps": 1500,
            "batch": 4,
            "frames": 8,
            "crop": 64,
            "peak_lr": 2.5e-3,
            "warmup": 100,
            "weight_decay": 0.01,
            "clip_norm": 1.0,
            "average_decay": 0.998,
            "latent_noise": 0.2,
            "latent_pull": 0.05,
            "save_every": 200,
        }
    )
