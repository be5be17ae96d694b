from medvol_r1.demo_models.demo_lvlm import ensure_demo_lvlm
from medvol_r1.lvlm.model import VolumeLVLM


def test_an_untrained_model_is_made_once_and_fits_its_sizes(folder, tmp_path):
    sizes = dict(image_size=32, hidden_size=64, num_layers=1, vision_hidden_size=32, vision_depth=2)
    made = ensure_demo_lvlm(tmp_path / "new", tokenizer_path=folder, **sizes)
    config = VolumeLVLM(made).base.config
    assert (config.text_config.hidden_size, config.text_config.num_attention_heads) == (64, 2)
    assert config.vision_config.num_position_embeddings == (32 // 8) ** 2
    assert ensure_demo_lvlm(folder, **sizes) == folder
