"""MedVol-R1: a CT volume and a clinical query become a 3D mask with evidence.

One flow, one direction of imports: each line may import those above it, never those below (tests/test_docs.py).

    errors                                bad input with a reason from a closed list; what to tell of a failure
    command_arguments                     texts of a command line, as they were written
    json_list                             a list that a user wrote as JSON
    anchor.evidence_anchor                a key slice, boxes and points; why a text is none
    anchor.codec                          boxes and points in pixels, and from 0 to 1000
    anchor.answer                         text to an anchor, and back
    slice_prompt                          where propagation starts: boxes and points on a slice
    metrics                               visibility of the key slice, matched box IoU, DSC and IoU of masks
    device                                which device to compute on, and whether in bfloat16

    images.failures                       why an image file cannot be used
    images.stored_image                   an image as its file stores it, and as a volume of one slice
    images.picture_file                   PNG, JPEG, TIFF, BMP and GIF files; PNG written
    images.dicom_image                    a DICOM file of one frame

    volume.cropped_mask                   a mask without the empty space around it
    volume.geometry                       where the shown slices lie in the source volume, and the way back
    volume.failures                       why a volume cannot be used
    volume.grid                           where the voxels of a file lie, whether a label lies on its image
    volume.dicom_headers                  which series a path names
    volume.dicom_plane                    where a slice lies, by its header; its values
    volume.dicom_series                   its slices in order, checked; their voxels
    volume.voxel_values                   whether values can be HU, whether they are labels
    volume.windows                        HU, or values of another modality, to grey values
    volume.nifti_file                     NIfTI files, opened and read slice by slice
    volume.io                             NIfTI, DICOM or a picture to checked volumes
    volume.body_crop                      slices cropped to the body, so that air and table do not count
    volume.query_text                     the user's text, verbatim, into the image's meta data
    volume.correction                     a person's evidence, checked, into the image's meta data
    volume.transforms                     volume <-> shown slices, as dictionary transforms

    phantom.canvas                        painting with partial volume on a warped body
    phantom.anatomy                       the patient: what its structures share; trunk, chest, vessels, bowel
    phantom.skeleton                      bones, muscles of the spine, head
    phantom.organs                        the abdominal organs with labels
    phantom.lesions                       tumors and cysts of the kidneys
    phantom.scanner                       range, field of view, grid, blur and noise of a scan
    phantom.wide                          any patient, any field of view, any scanner
    phantom.scan                          procedural CT volumes with label maps
    phantom.looks                         their slices as ten modalities might show them

    queries.lesions                       the lesions of a label map, and the kidney of each
    queries.resolvers                     what a query's resolver points at
    queries.facts                         what is said of the organs and lesions of phantoms
    queries.head_neck_facts               what is said of the organs that radiotherapy spares
    queries.renal_facts                   what is said of tumors and cysts of the kidneys in real CT
    queries.phrases                       the words of the queries
    queries.concepts                      what may be asked of each set of label maps
    queries.wording                       its words: paraphrase groups, and the split that each belongs to
    queries.bank                          clinical questions about phantoms, drawn from these
    queries.kidney_sides                  which of the kidneys of one label is the right one
    queries.label_parts                   real label maps in disjoint parts
    queries.real_bank                     questions about a real label map, as entries of a datalist
    queries.own_targets                   targets and sentences of the user's own
    queries.reasoning                     the rule-made reasoning of SFT

    targets                               label -> mask of the target -> anchor for SFT

    constrained.answer_text               what may come next in the text of an answer, character by character
    constrained.token_choices             which tokens may come next, of any tokenizer

    lvlm.architecture                     which models can be read, and where they differ
    lvlm.prompts                          `<slice i>` tags, chat template, neutralised user text
    lvlm.split_attention                  attention of many branches behind one prefix
    lvlm.slice_attention                  the vision tower on many slices of one size
    lvlm.shortcuts                        attentions of this bundle, given to what can take them
    lvlm.shared_prefix                    many queries of a volume behind one prompt
    lvlm.vision                           slices as the vision tower reads them
    lvlm.weights                          reading a Qwen-VL, what is wrong with a folder
    lvlm.network_state                    whether a network is still the one that computed something
    lvlm.encoded_volume                   a volume as the language model reads it
    lvlm.sampling                         how the next token is chosen
    lvlm.language_model                   what is asked of a language model: where another one plugs in
    lvlm.decoding.completion              what the model wrote
    lvlm.decoding.cuda_graph              a token as one CUDA graph
    lvlm.decoding.static_sequences        sequences that grow in place, advanced by such graphs
    lvlm.decoding.memory                  how many sequences memory holds
    lvlm.decoding.writing                 tokens, one after another
    lvlm.decoding.decoder                 completions behind a volume's prefix
    lvlm.decoding.one_by_one              the same where no prefix can be shared
    lvlm.decoding.several_volumes         completions of several volumes, written together
    lvlm.log_probs                        token log-probabilities of completions, packed and checked
    lvlm.volume_batch                     the same of several volumes in one forward
    lvlm.model                            a Qwen-VL: generate, token log-probabilities
    lvlm.memory_plan                      what training at a given size needs

    served_lvlm.failures                  why a served model gave no answer
    served_lvlm.endpoint                  an OpenAI-compatible endpoint, asked
    served_lvlm.slice_pictures            slices as PNG images
    served_lvlm.model                     a served language model in the place of Qwen3-VL

    medsam2.weights                       weights of MedSAM2 as a Sam2VideoModel
    medsam2.prompt_points                 boxes and points as SAM 2 reads them
    medsam2.memory_attention              attention to memories on a CPU, with less work
    medsam2.steps                         encode, decode, remember, attend: batched over objects
    medsam2.zoom                          the part of a slice around a box
    medsam2.slice_features                slices as MedSAM2 sees them, each encoded once

    propagation                           anchor -> mask through the slices
    experts.expert                        what is asked of a model that makes masks: where another one plugs in
    experts.single_image                  a SAM on a single image
    experts.sam                           SAM, MedSAM
    experts.sam2                          SAM 2
    experts.weights                       their weights, read strictly
    prompt_masks                          the masks of many prompts on one volume
    self_consistency                      several answers to a query, their agreement, one given
    inferer                               the chain as a MONAI inferer
    rewards.contract                      what a reward is given and gives
    rewards.answers                       what completions answer, beside their masks
    rewards.evidence                      R_f, R_a, R_s
    rewards.consistency                   R_c
    rewards.composite                     their weighted sum
    losses                                GRPO: advantages in a group, clipped surrogate with KL

    umrg.marks                            a box and two points on a single image
    umrg.measures                         how near predicted marks come to the true ones
    umrg.rewards                          what of it is rewarded, in sets
    umrg.published                        what its authors report

    datasets.datalist                     lists of cases on disk: one reader, one schema
    datasets.cases                        the cases of a run
    datasets.volume_cases                 a volume with all its queries and targets: the unit of evaluation
    datasets.volume_queries               a volume with its queries: the unit of training
    datasets.phantom_volumes              phantoms made on the fly
    datasets.write_phantoms               phantoms as files
    datasets.write_umrg                   slices of phantoms with questions, in the form of U-MRG
    datasets.demo_cases                   the cases of a run that was given none
    datasets.slice_cache                  what was made of files, kept on disk
    datasets.shown_volume                 a volume and its label maps as they are shown, in few bytes
    datasets.asked_queries                how many queries have a target that is not on the shown slices
    datasets.listed_volumes               training volumes on disk

    report.evidence_record                what `<case>_evidence.json` holds
    report.evidence_picture               query, reasoning, key slice, boxes and mask on one page
    report.dicom_seg                      a mask as DICOM SEG
    report.case_files                     the files of a case: one function a format
    report.status_words                   the status of an answer, as a person reads it
    report.case_table                     a run's cases as a table for a terminal
    report.case_writer                    writes each case, prints the table
    evaluator                             engine of inference

    service.failures                      why the service refuses something
    service.memory                        what was computed of studies, within a bound
    service.progress                      how far a request is, and whether it is still wanted
    service.request_queue                 requests that wait their turn
    service.size_check                    what a file would take in memory, before it is taken
    service.studies_folder                the folder whose studies may be opened
    service.uploads                       files that users send
    service.packed_mask                   a mask in few bytes
    service.pictures                      slices and masks as PNG
    service.study                         a study that somebody has opened: its masks, their history
    service.display                       answers in the frame of what is displayed, and a person's boxes back
    service.export                        a mask as a file
    service.watched                       both models, with somebody who watches
    service.models                        what a config names, for volumes that come and go
    service.segmentation_service          open, ask, correct, undo, export: behind every interface
    service.start                         a service, put together from configs

    evaluation.bootstrap                  confidence intervals by resampling patients
    evaluation.volume_metrics             DSC, IoU, NSD, HD95 of a mask
    evaluation.columns                    the columns of per_query.csv
    evaluation.median_prior               the answer that never looks at the image
    evaluation.fit_median_prior           makes one from phantoms or listed volumes
    evaluation.bounds                     oracle prompts and the prior, to compare a prediction with
    evaluation.tables                     metrics.json as Markdown
    evaluation.query_scores               what is measured of one answered query
    evaluation.statistics                 from the rows of all queries to metrics.json
    evaluation.journal                    what an evaluation has finished, on disk
    evaluation.recorder                   scores answers beside the models' work
    evaluation.report                     metrics.json, per_query.csv, summary.md, pictures
    evaluation.evaluator                  engine of evaluation
    evaluation.compare                    two evaluations of the same cases
    evaluation.risk_coverage              several answers: DSC against their number, risk against coverage

    benchmark.failures                    why a saved mask cannot be scored
    benchmark.placement                   a mask on another grid of the same space
    benchmark.saved_masks                 masks that other systems saved, read and placed
    benchmark.bundle_process              another MONAI bundle on images, in a process of its own
    benchmark.bundle_runner               starts that process, finds the masks
    benchmark.systems                     the systems of a benchmark, from a JSON list
    benchmark.tables                      systems side by side
    benchmark.mask_benchmark              scores the masks of several systems

    training.distributed                  how many processes train together
    training.trainable                    which weights are trained
    training.non_finite                   no step on a gradient that is not a number
    training.resuming                     ending a run at any time, going on bit for bit
    training.validation                   validation of anchors while a model is trained
    training.reference_policy             the frozen policy of the KL term
    training.rollouts                     completions of a volume's queries, sampled and rewarded
    training.grpo_logging                 what a step of GRPO shows in TensorBoard
    training.wall_clock                   a learning rate that ends with the time
    training.sft                          engine of stage 1
    training.grpo                         engine of stage 2
    training.trl_processor                slices and prompts as TRL's trainer reads them
    training.trl_dataset                  volumes as rows of its data set
    training.trl_engine                   stage 2 by that trainer

    propagator_training.random_shapes     label volumes of shapes without names
    propagator_training.clips             clips around objects, for the propagator
    propagator_training.labelled_volumes  volumes on disk with label maps, to cut clips from
    propagator_training.clip_network      the same steps over a clip, for training
    propagator_training.point_network     box and points on single slices, to train what a point means
    propagator_training.loss              loss of a clip
    propagator_training.pictures          propagated masks in TensorBoard
    propagator_training.evaluator         engine that scores a propagator
    propagator_training.trainer           engine that trains one

    demo_models.vision_pretraining        its vision tower learns to see, before words
    demo_models.phantom_slices            their slices with the labels of each cell
    demo_models.tiny_lvlm                 builds the small demo model
    demo_models.demo_lvlm                 builds the language model that finds organs on real CT, untrained
    demo_models.image_lvlm                that of single images, untrained: a part of another one
    demo_models.frames                    parts of a volume, moved and in other grey values
    demo_models.patient_archive           head-and-neck CT in one file
    demo_models.archived_patients         its patients, to validate on
    demo_models.endless_frames            frames without end, tokenised and packed
    demo_models.frame_trainer             completions and labels of many frames at once
    demo_models.score_table               answers on several validation sets
    demo_models.tiny_medsam2              builds the small demo model

    layouts.found_cases                   what a reader finds in the folder of a data set, and what it leaves out
    layouts.ct_org                        CT-ORG
    layouts.abdomenct_1k                  AbdomenCT-1K
    layouts.kits23                        KiTS23
    layouts.m3d_seg                       those three as arrays, with M3D's split
    layouts.m3d_refseg                    M3D-RefSeg, with questions of its own
    layouts.umrg                          U-MRG-14K, with questions about single images
    layouts.folder                        any folder of images and label maps

    preparation.fingerprint               which images are the same scan, whatever was done to their files
    preparation.splits                    training, validation and test by patient
    preparation.sides                     the same beside data sets that were prepared before
    preparation.case_failures             why a case that was found cannot be prepared
    preparation.anatomical_axes           where the axes of a volume point, told by its organs
    preparation.m3d_arrays                the arrays of M3D-Seg
    preparation.case_reading              a case in memory, its known defects repaired and counted
    preparation.prepared_case             one case: label map in parts, questions, what the report says of it
    preparation.journal                   what a preparation has finished, on disk
    preparation.datalists                 the lists that training and evaluation read
    preparation.report                    what became of a data set, in Markdown
    preparation.contact_sheet             a slice of some cases with their labels
    preparation.prepare                   the run

    web.failures                          how a failure looks by HTTP
    web.owners                            whose a request is
    web.protection                        what stands in front of every call
    web.bodies                            what calls send
    web.descriptions                      studies and requests, as the API tells of them
    web.calls                             the calls of the API
    web.api                               the application: calls, page, protection
    web.serve                             `medvol-r1 serve`

    command_line.options                  its arguments
    command_line.queries_file             the file behind `--queries`
    command_line.asked_cases              every query of every image, as entries of a datalist
    command_line.case_configs             which configs answer a case: those of volumes, of single images
    command_line.program                  the `medvol-r1` command
    command_line.__main__                 the same by `python -m`

Nothing imports the engines; configs name them.

Dimension letters: X, Y, Z axes of the source volume; S shown slices; H, W rows and columns of a shown slice;
C channels; N boxes or objects; K queries of a volume; G completions of a query; T tokens; P tokens of a shared prefix.
"""
