import torch
from ignite.engine import Events
from medvol_r1.demo_models.endless_frames import LABEL_NAMES, EndlessFrames, collate_frames
from medvol_r1.demo_models.frame_trainer import FrameTrainer, label_shares
from medvol_r1.demo_models.vision_pretraining import UNKNOWN, SliceSegmenter
from medvol_r1.lvlm.model import VolumeLVLM


def test_label_shares():
    label = torch.zeros(1, 1, 4, 4, dtype=torch.uint8)
    label[0, 0, :2, :3] = 2
    labeled = torch.zeros(1, len(LABEL_NAMES), dtype=torch.bool)
    labeled[0, 1] = True
    shares = label_shares(label, labeled, cell_size=2)
    assert shares[0, 1, 0].tolist() == [[1.0, 0.5], [0.0, 0.0]]
    assert (shares[0, 0] == UNKNOWN).all()


def test_training_lowers_both_losses(folder):
    stream = iter(EndlessFrames(folder, None, {"organs": 1.0}, 4, 32, batch_size=2, queries_per_volume=3))
    batch = collate_frames([next(stream) for _ in range(2)])
    torch.manual_seed(0)
    network = SliceSegmenter(VolumeLVLM(folder).unfreeze(), len(LABEL_NAMES), cell_size=4)
    found = []
    trainer = FrameTrainer(
        torch.device("cpu"),
        max_epochs=1,
        epoch_length=30,
        train_data_loader=[batch] * 30,
        network=network,
        optimizer=torch.optim.AdamW(network.parameters(), lr=3e-3),
        bf16=False,
    )
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: found.extend(engine.state.output))
    trainer.run()
    assert found[-1]["loss"] < 0.5 * found[0]["loss"]
    assert found[-1]["label_loss"] < 0.9 * found[0]["label_loss"]
