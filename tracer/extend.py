"""What plugins build on: everything that they may import from the core, in one place.

The names of `tracer` itself are for those who use the library; these are for those who extend it.
Errors are in `tracer.errors`, the registries in `tracer.registry`, checks in `tracer.testing`.

Operations: how one is declared, and what rules call:
    `Elementwise`, `Operation`, `operation`, `Rules`, `Composite`, `composed`, `composes`,
    `implements`, `POOLED`, `UNKNOWN`, `describe`, `Placed`, `Scattered`, `integer`, `integers`,
    `operand`, `raw`, `Embed`, `ScatterAdd`, `SINGLE`, `in_single`, `meeting`, `narrowed`,
    `widened`, `working`, `flatten`, `moved_on`

Rules for tangents that follow from others, and what such rules call:
    `by_slopes`, `by_symmetry`, `by_contraction`, `by_stacks`, `by_slots`, `lifted`,
    `broadcast_tangent`, `summed`

The algebra of what reaches a parameter:
    `Cotangent`, `Dense`, `Gather`, `Mixed`, `Outer`, `Reindexed`, `Summed`, `broadcast_uses`,
    `looked_up`, `samples_first`, `Kronecker`

Losses: the rows that they start:
    `SeedRows`, `at_places`

Quantities and kinds of rows:
    `Context`, `Quantity`, `Shard`, `Unfinished`, `unfinished`, `finished`, `has_states`, `merged`,
    `merges`, `Results`, `Values`, `LayerValues`, `layer_of`,
    `GGNMonteCarlo`, `Rows`, `Term`, `ggn_averaged`, `ggn_exact`, `ggn_outputs`, `gradient`,
    `hessian`, `hessian_eigenvectors`, `jacobian`

The record: nodes, leaves, where it is recorded:
    `Tensor`, `batch`, `input_leaf`, `parameter`, `rebind`, `is_private`, `Node`, `NOWHERE`,
    `Place`, `Called`,
    `ModuleCall`, `CONSTANT`, `INPUT`, `PARAMETER`, `Cursor`, `current_cursor`, `current_tape`,
    `owner`, `using`, `pause`, `paused_tape`,
    `present`, `scope`, `steps`, `origin_of`, `Part`, `numbers`, `axis_of`,
    `DRIVER_FILES`, `INTERNAL_FILES`,
    `is_users`, `users_frame`, `missing`, `Tape`

Arrays: libraries, threads, random numbers, devices:
    `backend`, `Backend`, `Compiled`, `compiled`, `Tally`, `Visited`, `Geometry`, `SampledArray`,
    `add_product`, `SMALL`, `blocks`, `expect_attention`, `expect_blocks`, `expect_kernels`, `Work`,
    `begin_work`, `current_work`, `end_work`, `in_parallel`, `one_thread`, `on_this_thread`,
    `product`, `scratch`, `threads`, `drawn`, `generator`, `generator_of`,
    `set_generator`, `poisson`, `seed`, `last_seed`, `Links`,
    `without_torch`, `backend_for`, `is_device`, `read_safetensors`, `write_safetensors`,
    `is_safetensors`

Types, to be named in signatures (`tracer.arrays.types` and the glossary say what they mean):
    `Array`, `Axis`, `Convertible`, `DType`, `Entry`, `Generator`, `Index`, `Params`, `Present`,
    `Shape`, `Signs`, `Some`, `Stack`, `State`, `TensorLike`, `Tree`, `Value`, `View`

Graphs, pictures and commands:
    `Command`, `DrawOptions`, `Drawing`, `Overlay`, `Renderer`, `RendererUnavailable`,
    `REVERSE`, `copies`, `gradient_flow`, `Line`, `compare_graphs`, `Comparison`, `Change`,
    `united_graph`, `totals`, `no_collection`, `precision_changes`, `time_operations`, `render`,
    `overlay_values`, `require_quantities`

Plugins:
    `hookimpl`, `hooks`, `defined`, `Plugin`, `settings`, `Target`, `Instrument`, `Sink`,
    `Tracker`, `Training`, `Sweep`, `Sampler`, `Choices`, `Range`, `Space`, `Team`, `Fold`,
    `ImportedOperator`, `Importer`
"""

from tracer import hooks
from tracer.api.devices import backend_for, is_device
from tracer.api.drawing import Drawing
from tracer.api.tape import Tape
from tracer.arrays import backend
from tracer.arrays.backend import Backend
from tracer.arrays.collection import no_collection
from tracer.arrays.compiled import Compiled, Tally, Visited, compiled
from tracer.arrays.dtypes import SINGLE, in_single, meeting, narrowed, widened, working
from tracer.arrays.kernels import Geometry
from tracer.arrays.links import Links
from tracer.arrays.openblas import add_product
from tracer.arrays.ownership import is_private
from tracer.arrays.parallel import (
    SMALL,
    Work,
    begin_work,
    blocks,
    current_work,
    end_work,
    expect_attention,
    expect_blocks,
    expect_kernels,
    in_parallel,
    on_this_thread,
    one_thread,
    product,
    scratch,
    threads,
)
from tracer.arrays.random import (
    drawn,
    generator,
    generator_of,
    last_seed,
    poisson,
    seed,
    set_generator,
)
from tracer.arrays.safetensors import is_safetensors, read_safetensors, write_safetensors
from tracer.arrays.sampled import SampledArray
from tracer.arrays.torch_tensors import without_torch
from tracer.arrays.trees import flatten
from tracer.arrays.types import (
    Array,
    Convertible,
    DType,
    Generator,
    Index,
    Present,
    Shape,
    Signs,
    Some,
    Stack,
    Tree,
)
from tracer.blame import Plugin
from tracer.cotangents import (
    Cotangent,
    Dense,
    Gather,
    Mixed,
    Outer,
    Reindexed,
    Summed,
    broadcast_uses,
    looked_up,
    samples_first,
)
from tracer.cotangents.kronecker import Kronecker
from tracer.curvature.combining import layer_of
from tracer.curvature.progress import Line
from tracer.curvature.quantity import Context, Quantity, Shard, State, Value
from tracer.curvature.results import Results
from tracer.curvature.rows import (
    GGNMonteCarlo,
    Rows,
    Term,
    ggn_averaged,
    ggn_exact,
    ggn_outputs,
    gradient,
    hessian,
    hessian_eigenvectors,
    jacobian,
)
from tracer.curvature.seed_rows import SeedRows, at_places
from tracer.curvature.shards import Unfinished, finished, has_states, merged, merges, unfinished
from tracer.curvature.values import LayerValues, Values
from tracer.extensions import Command, DrawOptions, Overlay, Renderer, RendererUnavailable
from tracer.folds import Fold
from tracer.graph.comparison import Change, Comparison, compare_graphs, united_graph
from tracer.graph.flow import REVERSE, copies, gradient_flow
from tracer.graph.precision import precision_changes
from tracer.graph.totals import totals
from tracer.guarded import overlay_values, render, require_quantities
from tracer.imports import ImportedOperator, Importer
from tracer.operations.arguments import integer, integers, operand, raw
from tracer.operations.inplace import moved_on
from tracer.operations.placing import Embed, ScatterAdd
from tracer.plugins.hookspecs import hookimpl
from tracer.plugins.targets import Target
from tracer.record.axes import POOLED, UNKNOWN, Axis
from tracer.record.composite import Composite, composed, composes
from tracer.record.describe import describe
from tracer.record.dispatch import implements
from tracer.record.frames import DRIVER_FILES, INTERNAL_FILES, is_users, users_frame
from tracer.record.freezing import origin_of
from tracer.record.hints import missing
from tracer.record.leaf_kinds import CONSTANT, INPUT, PARAMETER
from tracer.record.leaves import batch, input_leaf, parameter, rebind
from tracer.record.names import Part, numbers
from tracer.record.node import Node, Params
from tracer.record.operation import Elementwise, Operation, operation
from tracer.record.pausing import pause, paused_tape
from tracer.record.place import NOWHERE, Called, ModuleCall, Place
from tracer.record.recorder import Cursor, current_cursor, current_tape, owner, using
from tracer.record.rules import Rules
from tracer.record.scopes import present, scope, steps
from tracer.record.settling import axis_of
from tracer.record.tensor import Tensor, TensorLike
from tracer.registry import defined
from tracer.settings import settings
from tracer.sweep.placed import Placed
from tracer.sweep.rules import Entry, View
from tracer.sweep.scattered import Scattered
from tracer.sweep.slopes import (
    broadcast_tangent,
    by_contraction,
    by_slopes,
    by_slots,
    by_stacks,
    by_symmetry,
    lifted,
    summed,
)
from tracer.sweep.timing import time_operations
from tracer.trainings import Choices, Range, Sampler, Space, Sweep, Team, Tracker, Training
from tracer.watching import Instrument, Sink

__all__ = [
    "CONSTANT",
    "DRIVER_FILES",
    "INPUT",
    "INTERNAL_FILES",
    "NOWHERE",
    "PARAMETER",
    "POOLED",
    "REVERSE",
    "SINGLE",
    "SMALL",
    "UNKNOWN",
    "Array",
    "Axis",
    "Backend",
    "Called",
    "Change",
    "Choices",
    "Command",
    "Comparison",
    "Compiled",
    "Composite",
    "Context",
    "Convertible",
    "Cotangent",
    "Cursor",
    "DType",
    "Dense",
    "DrawOptions",
    "Drawing",
    "Elementwise",
    "Embed",
    "Entry",
    "Fold",
    "GGNMonteCarlo",
    "Gather",
    "Generator",
    "Geometry",
    "ImportedOperator",
    "Importer",
    "Index",
    "Instrument",
    "Kronecker",
    "LayerValues",
    "Line",
    "Links",
    "Mixed",
    "ModuleCall",
    "Node",
    "Operation",
    "Outer",
    "Overlay",
    "Params",
    "Part",
    "Place",
    "Placed",
    "Plugin",
    "Present",
    "Quantity",
    "Range",
    "Reindexed",
    "Renderer",
    "RendererUnavailable",
    "Results",
    "Rows",
    "Rules",
    "SampledArray",
    "Sampler",
    "ScatterAdd",
    "Scattered",
    "SeedRows",
    "Shape",
    "Shard",
    "Signs",
    "Sink",
    "Some",
    "Space",
    "Stack",
    "State",
    "Summed",
    "Sweep",
    "Tally",
    "Tape",
    "Target",
    "Team",
    "Tensor",
    "TensorLike",
    "Term",
    "Tracker",
    "Training",
    "Tree",
    "Unfinished",
    "Value",
    "Values",
    "View",
    "Visited",
    "Work",
    "add_product",
    "at_places",
    "axis_of",
    "backend",
    "backend_for",
    "batch",
    "begin_work",
    "blocks",
    "broadcast_tangent",
    "broadcast_uses",
    "by_contraction",
    "by_slopes",
    "by_slots",
    "by_stacks",
    "by_symmetry",
    "compare_graphs",
    "compiled",
    "composed",
    "composes",
    "copies",
    "current_cursor",
    "current_tape",
    "current_work",
    "defined",
    "describe",
    "drawn",
    "end_work",
    "expect_attention",
    "expect_blocks",
    "expect_kernels",
    "finished",
    "flatten",
    "generator",
    "generator_of",
    "ggn_averaged",
    "ggn_exact",
    "ggn_outputs",
    "gradient",
    "gradient_flow",
    "has_states",
    "hessian",
    "hessian_eigenvectors",
    "hookimpl",
    "hooks",
    "implements",
    "in_parallel",
    "in_single",
    "input_leaf",
    "integer",
    "integers",
    "is_device",
    "is_private",
    "is_safetensors",
    "is_users",
    "jacobian",
    "last_seed",
    "layer_of",
    "lifted",
    "looked_up",
    "meeting",
    "merged",
    "merges",
    "missing",
    "moved_on",
    "narrowed",
    "no_collection",
    "numbers",
    "on_this_thread",
    "one_thread",
    "operand",
    "operation",
    "origin_of",
    "overlay_values",
    "owner",
    "parameter",
    "pause",
    "paused_tape",
    "poisson",
    "precision_changes",
    "present",
    "product",
    "raw",
    "read_safetensors",
    "rebind",
    "render",
    "require_quantities",
    "samples_first",
    "scope",
    "scratch",
    "seed",
    "set_generator",
    "settings",
    "steps",
    "summed",
    "threads",
    "time_operations",
    "totals",
    "unfinished",
    "united_graph",
    "users_frame",
    "using",
    "widened",
    "without_torch",
    "working",
    "write_safetensors",
]
