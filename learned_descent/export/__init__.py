"""A learned descent as a file of fixed operations, for programs that have no Python, or not this
library.
"""

from .files import Written, write_graph
from .graphs import Graph, Part, graph_of

__all__ = ["Graph", "Part", "Written", "graph_of", "write_graph"]
