"""Nano: the SyncNet that rewards stage 2 and measures results, by contrast on pairs of drawn talkers.

    lipforcing train --config configs/nano_syncnet.py --workdir runs/nano

Needs the autoencoder (nano_vae.py) in the workdir; what is missing of its talkers is drawn.

Result, on 64 held-out clips of 81 frames seen through the autoencoder (the scorer's form): Sync-C 1.84 and Sync-D 7.36
with their own sound, 0.67 and 8.90 for the other mouth of the pair. The truth has the higher Sync-C in 97 % of clips,
and a lower Sync-D in all; the offset is found in all, also with the sound moved by 8 frames. With 45 frames: 1.79 and
0.96, 89 %, offset found in 91 %. A still picture scores 0.21. The updates take 14 minutes of one core's time.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict(
        {
            "stage": "sync_net",
            "preset": "nano",
            "seed": 0,
            "pairs": 700,
            "seen_pairs": 180,  # of which pictures go through the autoencoder
            "heldout_pairs": 32,
            "latent_frames": 21,
            "speech_clips": 2800,
            "speech_frames": 129,
            "workers": 1,  # processes that make the data; this one does with none
            "rooms": 2,
            "steps": 3000,
            "mouth_weight": 3.0,
            "batch": 16,  # pairs, of which both clips are shown
            "windows": 3,  # moments of each clip
            "peak_lr": 2e-3,
            "warmup": 50,
            "weight_decay": 0.02,
            "clip_norm": 1.0,
            "average_decay": 0.995,
            "save_every": 500,
        }
    )
