"""The building blocks: plain ``nn.Module`` classes, each registered under a kind and a name."""

from glassformer.parts import attention as attention
from glassformer.parts import cross_attention as cross_attention
from glassformer.parts import feedforward as feedforward
from glassformer.parts import norms as norms
from glassformer.parts import positions as positions
from glassformer.parts import routers as routers
