"""Nano, part 2 of 3: the tiny video autoencoder, on crops of drawn talkers and dead-leaves pictures.

    lipforcing train --config configs/nano_vae.py --workdir runs/nano

The mouths are those of the speech that nano_audio.py leaves in the workdir, which is made if it is not there.

Result of the bundled weights, which are older than this file: held-out talkers come back at 32.8 dB in the mouth box,
and the opening of their mouths correlates 0.93 with their own. Their components are those of 510 clips of wandering
mouths, on which the decoder made its first 2000 updates (32.4 dB, 0.92); 5600 on clips like these followed, at
`steps=3000` and `steps=2600 peak_lr=5e-4`, in 18 and 10 minutes on one core beside other work, and 9600 more at
`clips=800 steps=7000` and `steps=2600 peak_lr=4e-4` in 24 and 9 minutes, which added 0.2 dB.

All of that was by absolute differences. By squared ones `lips_weight=40.0 clips=500 steps=2500` reaches 32.4 dB and
0.94 in 6 minutes on two cores.
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
