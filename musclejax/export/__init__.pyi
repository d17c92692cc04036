from .check import compare as compare
from .check import sample_slices as sample_slices
from .formats import FORMATS as FORMATS
from .formats import check_options as check_options
from .formats import export as export
from .metadata import network_metadata as network_metadata
from .result import Check as Check
