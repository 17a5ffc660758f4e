"""Nano: the data set of drawn talkers that teacher and student read.

    lipforcing train --config configs/nano_talkers.py --workdir runs/nano

Needs the autoencoder (nano_vae.py) and the ear (nano_audio.py) in the workdir.

Result: 6296 clips to train on, 15 % of them silent, and 40 for validation; 2.1 GB. Beside other work on two cores,
drawing took 24 minutes and encoding 57, between 0.6 and 3 s for a look of a pair. The bundled student learnt from
`pairs=1000`, which are 4471 clips, drawn and encoded in about 25 minutes, and then from `first=3200 pairs=900`
and `first=4200 pairs=900`.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict(
        {
            "stage": "talkers",
            "preset": "nano",
            "seed": 0,
            "first": 0,  # seed of the first face
            "pairs": 1400,
            "heldout": 20,
            "looks": 1,
            "latent_frames": 21,
            "speech_clips": 2800,
            "speech_frames": 129,
            "silent_share": 0.15,
            "workers": 2,  # processes that make the data; this one does with none
        }
    )
