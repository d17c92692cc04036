__version__: str

from .anatomy import REGIONS as REGIONS
from .config import default_config as default_config
from .errors import InputError as InputError
from .models.counts import describe as describe
from .models.network import build as build
from .models.spec import NetworkSpec as NetworkSpec
from .models.variants import VARIANTS as VARIANTS
from .models.weights import Weights as Weights
from .models.weights import load_weights as load_weights
from .models.weights import save_weights as save_weights
from .prediction.dixon import synthesize as synthesize
from .prediction.fat_fraction import load_fat_fraction as load_fat_fraction
from .prediction.maps import load_map as load_map
from .prediction.measurement import measure_muscles as measure_muscles
from .prediction.measurement import measure_slices as measure_slices
from .prediction.options import SegmentOptions as SegmentOptions
from .prediction.result import Segmentation as Segmentation
from .prediction.segment import segment as segment
from .reports.segmentation import save as save
from .scan.study import load as load
from .scan.volume import Volume as Volume
