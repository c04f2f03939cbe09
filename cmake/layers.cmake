# SPDX-License-Identifier: Apache-2.0
# The one table of layers, bottom to top: name | direct dependencies | what it is.
# The build (add_layer), tools/check_layers.py and docs/architecture.md read it.
# A layer may include headers of the layers its row names, transitively, and of itself.
set(BRAID_LAYERS
  "base||Result, CHECK, log, clock, ids, bounded queue: what the language should have had, nothing of the domain."
  "config|base|Turns one describe() per settings struct into flags, YAML, --help, validation and the reference page."
  "metrics|base|Counters, gauges and histograms with Prometheus text."
  "net|base metrics|Sockets on an event loop: HTTP/1.1 server and client, server-sent events."
  "text|base|Tokenizer, incremental detokenizer, chat templates, grammars: bytes to token ids and back."
  "protocol|base text|OpenAI messages as plain structs with parse and print."
  "parse|base|What a model writes, read as it comes: reasoning, content and tool calls of each format."
  "prefix|base|The identity of a token block (chained hash, block size, salt)."
  "tensor|base|DType, Shape, TensorView, Buffer, and the abstract Device and Stream."
  "ops|tensor|One header per operation: Args, contract, kernel list type, selection, the slow reference."
  "backend/cpu|ops|CPU kernels per instruction set, the worker pool, machine limits."
  "backend/cuda|ops|CUDA kernels, the GPU's stream and memory (absent without the cuda preset)."
  "fabric|tensor|Ranks that share memory: one-sided transfers, signals, windows and small collectives."
  "transport/shm|fabric|Shared memory between the processes of one host."
  "transport/ucx|fabric|Memory of ranks on other hosts over UCX: TCP, and RDMA where there is any."
  "weights|tensor|Checkpoint folders: safetensors mapping, names, shapes, scales, dummy weights."
  "moe|ops fabric weights|Gate, prepare, experts, finalize and the MoE layer that composes them."
  "kv|ops prefix|Paged block pool, page tables, prefix cache."
  "events|kv config|Tells routers which blocks a cache holds, in vLLM's format over ZeroMQ."
  "transfer|kv fabric config|Lends blocks of a cache to engines elsewhere, and reads those that they lend."
  "model|moe kv ops weights|Model configuration, attention and decoder blocks, one file per model family."
  "sample|ops protocol|Logits to tokens: penalties, temperature, top-k/p, seeds, logprobs, grammar masks."
  "engine|model kv events transfer sample text prefix metrics config fabric|Request, Sequence, Scheduler, Batch, Runner and the step loop."
  "serve|engine protocol parse net text metrics config|The HTTP face: parse, admit, submit, stream, cancel."
  "router|base config metrics text protocol prefix|The endpoint picker: filters, scorers, prefix index, flow control, no sockets, no threads."
  "extproc|base net|Envoy's external processing as a gRPC server: messages as plain data, streams on the event loop."
  "gateway|router extproc events net protocol text metrics config base|The router's sockets: clients and endpoints, discovery, scraping, streams, prefill apart from decode."
  "app|gateway serve parse engine model moe fabric weights backend/cpu backend/cuda transport/shm transport/ucx net config metrics text|main, one file per subcommand, and the only place where parts are listed and wired."
)
