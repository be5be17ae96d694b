"""MedVol-R1: a CT volume and a clinical query become a 3D mask with evidence.

One flow, one direction of imports: each line may import those above it, never those below (tests/test_docs.py).

    reasoned_error              bad input with a reason from a closed list
    json_list                   a list that a user wrote as JSON
    anchor                      what the language model says: key slice and boxes; parsing, formatting, 0-1000 codec
    metrics                     visibility of the key slice, matched box IoU, DSC and IoU of masks
    cropped_mask                a mask without the empty space around it
    volume_metrics              DSC, IoU, NSD, HD95 of a mask
    cluster_bootstrap           confidence intervals by resampling patients
    device                      which device to compute on

    slice_geometry              where the shown slices lie in the source volume, and the way back
    volume_io                   NIfTI to checked volumes
    saved_masks                 masks that other systems saved, onto the grid of their image
    bundle_process              another MONAI bundle on images, in a process of its own
    bundle_runner               starts that process, finds the masks
    benchmark_systems           the systems of a benchmark, from a JSON list
    query_text                  the user's text, verbatim, into the image's meta data
    transforms                  volume <-> shown slices, as dictionary transforms

    phantom_canvas              painting with partial volume on a warped body
    phantom_anatomy             the patient: what its structures share; trunk, chest, vessels, bowel
    phantom_skeleton            bones, muscles of the spine, head
    phantom_organs              the abdominal organs with labels
    phantom_lesions             tumors and cysts of the kidneys
    phantom                     procedural CT volumes with label maps
    lesions                     which kidney a lesion belongs to; what a query's resolver points at
    phrases                     the words of the queries
    queries                     clinical questions about phantoms, composed from phrases

    targets                     label mask -> anchor for SFT
    median_prior                the answer that never looks at the image
    reasoning                   the rule-made reasoning of SFT
    prompts                     `<slice i>` tags, chat template, neutralised user text
    split_attention             attention of many branches behind one prefix
    shared_prefix               many queries of a volume behind one prompt
    patches                     slices as the vision tower reads them
    qwen_weights                reading Qwen3-VL, what is wrong with a folder
    encoded_volume              a volume as the language model reads it
    decoding                    completions, token by token
    scoring                     token log-probabilities of completions, packed and checked
    lvlm                        Qwen3-VL: generate, token log-probabilities
    tiny_lvlm                   builds the small demo model
    vision_pretraining          its vision tower learns to see, before words
    memory_plan                 what training at a given size needs

    medsam2                     weights of MedSAM2 as a Sam2VideoModel
    medsam2_steps               encode, decode, remember, attend: batched over objects
    tiny_medsam2                builds the small demo model
    zoom                        the part of a slice around a box
    slice_features              slices as MedSAM2 sees them, each encoded once
    propagation                 anchor -> mask through the slices
    prompt_masks                many prompts on one volume
    bounds                      oracle prompts and the prior, to compare a prediction with
    clip_network                the same steps over a clip, for training
    propagator_loss             loss of a clip

    rewards                     R_f, R_a, R_s, R_c of completions, and their weighted sum
    losses                      GRPO: advantages in a group, clipped surrogate with KL

    datasets.volume_queries     a volume with its queries: the unit of training
    datasets.phantom_volumes    phantoms made on the fly
    datasets.phantom_slices     their slices with the labels of each cell
    datasets.write_phantoms     phantoms as files
    datasets.demo_cases         the cases of a run that was given none
    datasets.cases              the cases of a run
    datasets.volume_cases       a volume with all its queries and targets: the unit of evaluation
    datasets.listed_volumes     training volumes on disk
    datasets.random_shapes      label volumes of shapes without names
    datasets.clips              clips around objects, for the propagator
    datasets.labelled_volumes   volumes on disk with label maps, to cut clips from

    self_consistency            several answers to a query, their agreement, one given
    inferer                     the chain as a MONAI inferer
    propagation_pictures        propagated masks in TensorBoard
    evidence_picture            query, reasoning, key slice, boxes and mask on one page
    report                      mask, evidence JSON, picture, table
    query_scores                what is measured of one answered query
    score_journal               what an evaluation has finished, on disk
    score_recorder              scores answers beside the models' work
    score_statistics            from the rows of all queries to metrics.json
    score_tables                metrics.json as Markdown
    evaluation_report           metrics.json, per_query.csv, summary.md, pictures
    compare_results             two evaluations of the same cases
    risk_coverage               several answers: DSC against their number, risk against coverage
    benchmark_tables            systems side by side
    mask_benchmark              scores the masks of several systems

    resuming                    stopping at a signal, going on bit for bit
    reference_policy            the frozen policy of the KL term
    rollouts                    completions of a volume's queries, sampled and rewarded
    grpo_logging                what a step of GRPO shows in TensorBoard

    evaluator                   engine of inference
    volume_evaluator            engine of evaluation
    sft_trainer                 engines of stage 1: training, validation
    grpo_trainer                engine of stage 2
    propagator_evaluator        engine that scores a propagator
    propagator_trainer          engine that trains one
    command_line                the `medvol-r1` command

Nothing imports the engines; configs name them.

Dimension letters: X, Y, Z axes of the source volume; S shown slices; H, W rows and columns of a shown slice;
C channels; N boxes or objects; K queries of a volume; G completions of a query; T tokens; P tokens of a shared prefix.
"""
