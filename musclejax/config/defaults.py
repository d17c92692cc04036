"""Every setting once, with its unit and source; recipes state only differences."""

import hashlib
import json
from typing import Any

from ml_collections import ConfigDict

from musclejax.anatomy import SLICE_PX, SLICE_SPACING_MM, THUMBNAIL_PX
from musclejax.errors import InputError


def default_config() -> ConfigDict:
    """Return every setting of one network with its default."""
    config = ConfigDict()
    # Which network of the tree: "region" (the classifier), "thigh" or "leg".
    config.task = "thigh"
    # Name in `musclejax.models.variants.VARIANTS`.
    config.variant = "paper"

    # How the layers are computed.
    config.models = ConfigDict()
    # True: the plain forms of all layers, several times slower, to check the fast ones against.
    config.models.reference = False
    # What computes the 3x3 convolutions of the fast forms while training: "xla"; "onednn" (needs
    # the extra `onednn`; faster; last digits depend on the number of processors); or "auto":
    # oneDNN where it is installed and there is one device.
    config.models.convolutions = "auto"
    # What activations and their gradients are kept in while training: "float32", or "bfloat16"
    # (needs oneDNN and a processor with avx512_bf16 or AMX; faster). Weights, sums, statistics,
    # loss, optimizer and validation stay float32.
    config.models.precision = "float32"

    # How scanner intensities become network input.
    config.intensity = ConfigDict()
    # "percentile": divide by `percentile` of the voxels above the scan's mean, so that scanners
    # with any scale look alike (ours); "raw": as stored (2021 code, segmentation networks);
    # "divide": divide by `divisor` (2021 code, classifier).
    config.intensity.mode = "percentile"
    config.intensity.percentile = 99.0
    config.intensity.divisor = 4096.0

    # The grid that slices are resampled to before any network sees them.
    config.grid = ConfigDict()
    config.grid.size_px = SLICE_PX
    config.grid.spacing_mm = SLICE_SPACING_MM
    config.grid.thumbnail_px = THUMBNAIL_PX

    _add_data_settings(config)
    _add_training_settings(config)
    return config.lock()  # a misspelled setting is an error, not a new setting


def _add_data_settings(config: ConfigDict) -> None:
    """Add what decides which slices a network learns from, and how they are varied."""
    config.data = ConfigDict()
    # "dataset": annotated scans (--data); "phantom": synthetic slices, a new one each time.
    config.data.source = "dataset"
    # Which image of a case: 0 reads CASE_0000.nii.gz, as nnU-Net numbers them.
    config.data.channel = 0
    # Muscles that a slice must show to be trained on. 1: every annotated slice (paper); a tool by
    # co-authors of the paper requires more than half of them.
    config.data.min_muscles = 1
    # Area opening and closing of every reference label; px. Paper, "Preprocessing and data
    # augmentation".
    config.data.clean_px = 4
    # Muscles that are unlabeled on purpose, as "AL" or "AL,BFS": their weight is 0. Ours.
    config.data.absent = ""
    # What labels of the datasets mean that are not a muscle's, or have another name: as
    # "femur=ignore; vasto med=VM" (`--map` adds to it). Ours.
    config.data.map = ""
    # Rows and columns that are trained on, centered on the limbs; the model grid (paper) or less
    # (ours: air costs as much as muscle). Multiples of the network's size_multiple. Segmentation
    # gives the network windows of this size too, or larger where the limbs need them.
    config.data.crop_px = (SLICE_PX, SLICE_PX)
    # Share of synthetic slices among those that fine-tuning trains on, so that networks forget
    # less of other images than the scans': of a run on scans that begins (--init) with weights
    # that were trained on synthetic slices. Other runs have none. Ours; measured in
    # docs/training.md.
    config.data.synthetic_share = 0.5

    # What synthetic slices look like; see `phantom`.
    config.phantom = ConfigDict()
    config.phantom.severity = "mixed"  # of the fat replacement: mild, severe, mixed, any
    config.phantom.contrast = "any"  # or "narrow": out-of-phase images only
    config.phantom.people = 0  # number of people whose templates are trained on; 0: all
    config.phantom.deformation = 1.0  # of limbs and muscles; 0: as the templates are
    config.phantom.artifacts = 1.0  # noise, shading, motion, wrap; 0: none
    # Lowest and highest level: 0 hip joint, 1 knee joint line, 2 ankle joint. All of a region's.
    config.phantom.levels = (-1.0, 3.0)
    config.phantom.empty = 0.1  # share of slices from levels without a muscle of the network
    # Share of slices from whole limbs, where other people have templates too. Ours: they
    # are one person, traced by experts, beside 26 (2 in the leg) that networks or we labeled.
    config.phantom.whole = 0.25
    config.phantom.validation_slices = 120  # of templates that are not trained on

    config.split = ConfigDict()
    # "subject": whole subjects are held out, before augmenting. "paper": slices are augmented
    # first and split afterward, so that validation slices are siblings of training slices.
    config.split.order = "subject"
    # Share of subjects (or, in the paper's order, of augmented slices: 500 of 5000) that is held
    # out, where cases.csv does not say. Paper: 10 of 54 subjects for testing.
    config.split.validation = 0.1
    config.split.test = 0.0
    config.split.seed = 0

    # Source of all ranges: paper, "Preprocessing and data augmentation".
    config.augment = ConfigDict()
    # "jax": one jitted function; "imgaug": the reference, slower; "none".
    config.augment.backend = "jax"
    # Probability of each of the four steps; ours. The paper "randomly applied elements" of their
    # sequence and gives no probability.
    config.augment.probability = 0.5
    config.augment.rotation_deg = 7.0
    config.augment.piecewise_points = 4
    config.augment.piecewise_scale = (0.001, 0.01)  # share of height and width
    config.augment.elastic_strength_px = (0.0, 20.0)
    config.augment.elastic_sigma_px = (5.0, 10.0)
    # Augmented slices in the fixed set of `musclejax augment` and of split.order = "paper".
    config.augment.set_size = 5000


def _add_training_settings(config: ConfigDict) -> None:
    """Add loss, optimizer, schedule and search; the defaults are the paper's recipe."""
    config.seed = 0

    config.loss = ConfigDict()
    # "cross_entropy" (paper, Eq. 1), or "dice_cross_entropy": with soft Dice added (ours).
    config.loss.kind = "cross_entropy"
    # "sum" over pixels and batch (2021 code) or "mean"; optim.l2 is stated for the sum, and the
    # mean divides it by the number of pixels, so that both have the same minimum.
    config.loss.reduction = "sum"
    # Weight of a class: "inverse" of its frequency (paper, Eq. 2) or "none" (all 1; ours).
    config.loss.class_weights = "inverse"
    config.loss.border_weight = 10.0  # w0 of Eq. 2
    config.loss.border_sigma_px = 7.0  # sigma of Eq. 2; 8 for the leg

    # Source: paper, "Hyperparameters optimization, training and validation"; betas and epsilon:
    # Keras's defaults (2021 code).
    config.optim = ConfigDict()
    config.optim.learning_rate = 0.009765
    config.optim.l2 = 0.01  # l2 times the sum of squares of all kernels, no half (2021 code)
    # "cosine": the rate also falls to zero over train.epochs (ours); "none" (paper).
    config.optim.decay = "none"
    config.optim.dropout = 0.2  # of the input
    config.optim.amsgrad = True
    config.optim.beta1 = 0.9
    config.optim.beta2 = 0.999
    config.optim.epsilon = 1e-7
    # Share of the old running mean that batch norm keeps at each step (2021 code); short runs
    # need less, or their running means lag behind.
    config.optim.batch_norm_momentum = 0.99
    # Share of a moving average of the variables that each step keeps (ours), as 0.999: the
    # average is then what validates, is "best" and is exported. 0: no average (paper).
    config.optim.ema_decay = 0.0

    # The learning rate is halved after 4 epochs without lower validation loss (paper); the least
    # change that counts is Keras's default.
    config.plateau = ConfigDict()
    config.plateau.factor = 0.5
    config.plateau.patience = 4
    config.plateau.min_delta = 1e-4

    config.train = ConfigDict()
    config.train.epochs = 40  # paper, Table 2
    config.train.batch_size = 5  # paper
    config.train.epoch_slices = 4500  # augmented slices in an epoch; paper
    config.train.early_stopping = False
    config.train.early_stopping_patience = 10  # epochs without higher validation DSC; ours
    config.train.checkpoint_minutes = 10.0  # between checkpoints inside an epoch; ours

    # Source of ranges, epochs and batch (train.batch_size): paper, "Hyperparameters
    # optimization"; eta: Li et al. 2018.
    config.tune = ConfigDict()
    config.tune.max_epochs = 20
    config.tune.eta = 3
    config.tune.metric = "validation_soft_dsc"
    config.tune.learning_rate = (1e-4, 1e-2)  # drawn on a logarithmic scale
    config.tune.dropout = (0.0, 0.5)
    config.tune.l2 = (0.0, 0.1)


def from_dict(values: dict[str, Any]) -> ConfigDict:
    """Return the default with `values` laid over it.

    Raises:
        InputError: If `values` has a setting that does not exist, or one of another type.
    """
    config = default_config()
    try:
        config.update(values)
    except (KeyError, AttributeError, TypeError) as error:
        raise InputError("configuration", str(error), "the settings of default_config()") from None
    return config


def config_hash(config: dict[str, Any]) -> str:
    """Return 12 hexadecimal digits that change when any setting does."""
    text = json.dumps(config, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
