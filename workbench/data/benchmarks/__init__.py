"""Readers of published benchmarks in their own formats, from a folder of the user's."""

from workbench.data.benchmarks.catalogue import BENCHMARKS as BENCHMARKS
from workbench.data.benchmarks.catalogue import Benchmarks as Benchmarks
from workbench.data.benchmarks.catalogue import list_benchmarks as list_benchmarks
from workbench.data.benchmarks.catalogue import load_benchmark as load_benchmark
from workbench.data.benchmarks.items import Captioned as Captioned
from workbench.data.benchmarks.items import Item as Item
from workbench.data.benchmarks.items import PictureChoice as PictureChoice
from workbench.data.benchmarks.items import Quad as Quad
from workbench.data.benchmarks.items import as_sample as as_sample
from workbench.data.benchmarks.reading import data_folder as data_folder
from workbench.data.benchmarks.record import Benchmark as Benchmark
from workbench.data.benchmarks.sugar import SUGARCREPE as SUGARCREPE
from workbench.data.benchmarks.sugar import sugarcrepe as sugarcrepe
