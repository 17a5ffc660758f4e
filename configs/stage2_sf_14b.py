"""Stage 2 at 14B as released: self-forcing, distribution matching in the sync window, SyncNet's reward.

    lipforcing train --config configs/stage2_sf_14b.py --workdir runs/14b weights=weights/14b dataset=data/talkers

Spec training 2 and 6, "S2". `weights` holds base, adapter, TAEHV and SyncNet, `start` is what stage 1 left in the work
folder. Teacher and critic start as the adapter. The released run had one clip on each of four devices: `batch` counts
those of all devices, and 4 x 4 accumulated make 16. Its `max_iter=600` is exclusive, hence 599 updates of the critic
and 119 of the student. Released weights were trained with the critic's gradient four times as large whenever the
student learned too, an oversight that `critic_scale=true` brings back.

Not run: it needs about four accelerators of 80 GB. Its whole update is built without numbers, and every value here is
compared with the specification, in tests/configs/test_released.py.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict(
        {
            "stage": "self_forcing",
            "name": "stage2",
            "preset": "14b",
            "seed": 0,
            "mesh": "",  # devices by axes, such as fsdp=4,sequence=2; by rule over all devices if empty
            "dataset": "",  # folder of encoded clips; the work folder's without one
            "weights": "",  # converted folder with base, adapter, taehv and syncnet
            "start": "stage1.safetensors",  # the trained part of stage 1
            "trained": "low_rank",
            "lora_rank": 128,
            "lora_alpha": 64.0,
            "steps": 599,
            "batch": 4,
            "accumulation": 4,
            "frames": 21,
            "workers": 2,
            "chunk": 3,
            "steady_mouth": False,  # whether the source's lips are shown as their mean over the last chunks
            "window": 7,
            "sink": 1,
            "dynamic_rope": True,
            "t_list": (0.999, 0.769, 0.0),
            "shift": 5.0,
            "guidance": 4.5,
            "window_low": 0.556,
            "window_high": 0.882,
            "window_reverse": False,
            "negative_prompt": "",  # file with its embedding; zeros without one
            "reward": "sync_net",
            "reward_beta": 2.0,
            "reward_mode": "per_sample",
            "reward_center": False,
            "reward_clamp": None,
            "student_every": 5,
            "remat": "full",  # of each block: "none", "dots" or "full", from most memory to most work
            "critic_scale": False,
            "lr": 2e-6,
            "critic_lr": 0.0,  # as the student's
            "warmup": 0,
            "b1": 0.0,
            "b2": 0.999,
            "eps": 1e-8,
            "weight_decay": 0.01,
            "clip_norm": 10.0,
            "dtype": "bfloat16",
            "save_every": 100,
            "keep": 2,
            "best": "",
            "log_every": 5,
            "val_clips": 4,
            "sample_every": 100,
            "max_skipped": 100,
        }
    )
