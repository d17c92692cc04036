__version__: str

from .errors import InputError as InputError
from .inference.measure import load_fat_fraction as load_fat_fraction
from .inference.segment import Segmentation as Segmentation
from .inference.segment import segment as segment
from .models.variants import VARIANTS as VARIANTS
from .models.variants import build as build
from .models.variants import describe as describe
from .models.weights import Weights as Weights
from .models.weights import load_weights as load_weights
from .models.weights import save_weights as save_weights
from .scan.volume import Volume as Volume
from .scan.volume import load as load
