"""MedVol-R1: a CT volume and a clinical query become a 3D mask with evidence.

One flow, one direction of imports (each line may import those above it, never those below):

    anchor          what the language model says: key slice and boxes; parsing, formatting, the 0-1000 codec
    metrics         visibility of the key slice, matched box IoU, DSC and IoU of masks
    phantom         procedural CT volumes with label maps          queries       clinical questions about them
    transforms      volume <-> shown slices                        targets       label mask -> anchor for SFT
    prompts         `<slice i>` tags, chat template, neutralised user text
    lvlm            Qwen3-VL: generate, token log-probabilities    tiny_lvlm     builds the small demo model
    shared_prefix   many queries of a volume behind one prompt
    medsam2         Sam2Video weights                              propagation   anchor -> mask through the slices
    inferer         the chain of the above as a MONAI Inferer      report        mask, evidence JSON, picture
    datasets/       what training and inference read
    evaluator, sft_trainer       Ignite engines; they import everything, nothing imports them
    command_line    the `medvol-r1` command

Dimension letters: X, Y, Z axes of the source volume; S shown slices; H, W rows and columns of a shown slice;
C channels; N boxes or objects; K queries of a volume; G completions of a query; T tokens; P tokens of a shared prefix.
"""
