// SPDX-License-Identifier: Apache-2.0
// braid bench kv: how fast one process reads the blocks that another one holds.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <numeric>
#include <random>

#include "app/commands.h"
#include "app/output_file.h"
#include "app/parse.h"
#include "base/log.h"
#include "config/reference.h"
#include "transfer/node.h"
#include "transport/shm/shm.h"
#include "transport/ucx/ucx.h"

namespace braid::app {
namespace {

constexpr Duration kPatience = std::chrono::seconds(60);
constexpr double kGiga = 1e9;
constexpr std::size_t kTcpChunk = std::size_t{256} << 10;
constexpr double kMilli = 1e-3;

struct KvBench {
  std::string tokens = "256,1024,4096";
  int layers = 61;
  int row_bytes = 1152;
  int block_size = 64;
  std::string over = "shm";
  double seconds = 1;
  std::string json;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("tokens", self.tokens, {.help = "Lengths of prompts, separated by commas"});
    v.field("layers", self.layers, {.help = "Layers of the cache", .min = 1, .max = 1000});
    v.field("row-bytes", self.row_bytes, {.help = "A token's keys and values in a layer; 1152: DeepSeek-V3's in bfloat16", .unit = "bytes", .min = 2, .max = 1 << 20});
    v.field("block-size", self.block_size, {.help = "Tokens per block", .unit = "tokens", .min = 1, .max = 1024});
    v.field("over", self.over, {.help = "What the processes reach each other by", .choices = {"shm", "ucx"}});
    v.field("seconds", self.seconds, {.help = "Time spent on each length", .unit = "seconds", .min = 0.001, .max = 60});
    v.field("json", self.json, {.help = "File for one JSON line a length"});
  }
};

TimePoint now() { return std::chrono::steady_clock::now(); }

Result<std::unique_ptr<transfer::Node>> node_of(const KvBench& bench, const char* role, int tokens) {
  transfer::Settings settings;
  settings.kv_role = role;
  settings.kv_port = 0;
  std::unique_ptr<fabric::Transport> transport;
  if (bench.over == "shm") transport = transport::shm::transport({.spin = Duration::zero()});
  else {
    ASSIGN_OR_RETURN(transport, transport::ucx::transport({}));
  }
  ASSIGN_OR_RETURN(auto node, transfer::Node::open(settings, std::move(transport), 0, "bench"));
  kv::Layout layout;
  layout.layers = bench.layers;
  layout.row_elements = bench.row_bytes / 2;
  RETURN_IF_ERROR(node->share(layout, (tokens + bench.block_size - 1) / bench.block_size, bench.block_size));
  return node;
}

// As a cache hands them out after a while.
std::vector<kv::BlockId> scattered(int tokens, int block_size) {
  std::vector<kv::BlockId> blocks(static_cast<std::size_t>((tokens + block_size - 1) / block_size));
  std::iota(blocks.begin(), blocks.end(), 0);
  std::shuffle(blocks.begin(), blocks.end(), std::mt19937(1));
  return blocks;
}

// The lending process: for each number of tokens that comes in it answers with a line of kv_transfer_params.
int lend(const KvBench& bench, int most, int in, int out) {
  auto node = node_of(bench, "kv_producer", most);
  if (!node.ok()) return fail(node.error());
  for (int layer = 0; layer < bench.layers; ++layer) {  // every page is there
    std::memset((*node)->layer(layer), layer, static_cast<std::size_t>(most) * static_cast<std::size_t>(bench.row_bytes));
  }
  const SteadyClock clock;
  (*node)->start([] {});
  std::int32_t tokens = 0;
  while (read(in, &tokens, sizeof tokens) == static_cast<ssize_t>(sizeof tokens)) {
    (*node)->lender()->collect(clock.now());
    const std::vector<std::int32_t> prompt(static_cast<std::size_t>(tokens));
    const std::string line =
        (*node)->lender()->hold({scattered(tokens, bench.block_size), tokens, 0, transfer::digest_of(prompt.data(), tokens)}, clock.now()) + "\n";
    if (write(out, line.data(), line.size()) != static_cast<ssize_t>(line.size())) break;
  }
  (*node)->stop();
  return 0;
}

class LendingProcess {
 public:
  Status start(const KvBench& bench, int most) {
    int questions[2], answers[2];
    if (pipe(questions) != 0 || pipe(answers) != 0) return internal_error("cannot make a pipe");
    pid_ = fork();
    if (pid_ == 0) {
      close(questions[1]);
      close(answers[0]);
      _exit(lend(bench, most, questions[0], answers[1]));
    }
    close(questions[0]);
    close(answers[1]);
    questions_ = questions[1];
    answers_ = fdopen(answers[0], "r");
    return pid_ > 0 ? Status::success() : internal_error("cannot start a process");
  }
  ~LendingProcess() {
    if (answers_) std::fclose(answers_);
    if (questions_ >= 0) close(questions_);
    if (pid_ > 0) waitpid(pid_, nullptr, 0);
  }

  Result<transfer::Source> hold(std::int32_t tokens) {
    char* line = nullptr;
    std::size_t size = 0;
    const bool told = write(questions_, &tokens, sizeof tokens) == static_cast<ssize_t>(sizeof tokens) && getline(&line, &size, answers_) > 0;
    const std::string text = told ? line : "";
    std::free(line);
    ASSIGN_OR_RETURN(const transfer::Params params, transfer::read_params(text));
    if (!params.source) return internal_error("the lending process has ended");
    return *params.source;
  }

 private:
  pid_t pid_ = -1;
  int questions_ = -1;
  FILE* answers_ = nullptr;
};

class ReadingNode {
 public:
  Status start(const KvBench& bench, int most) {
    ASSIGN_OR_RETURN(node_, node_of(bench, "kv_consumer", most));
    for (int layer = 0; layer < bench.layers; ++layer) std::memset(node_->layer(layer), 0, static_cast<std::size_t>(most) * static_cast<std::size_t>(bench.row_bytes));
    node_->start([this] {
      std::lock_guard lock(mutex_);
      changed_.notify_all();
    });
    return {};
  }
  ~ReadingNode() {
    if (node_) node_->stop();
  }

  struct Times {
    double take = 0;
    double read = 0;
    std::size_t bytes = 0;
  };
  Result<Times> fetch(const transfer::Source& source, std::int32_t tokens, const std::vector<kv::BlockId>& blocks) {
    const TimePoint start = now();
    const auto id = node_->borrower()->open(source, std::vector<std::int32_t>(static_cast<std::size_t>(tokens)));
    ASSIGN_OR_RETURN(const transfer::News granted, next());
    const TimePoint middle = now();
    node_->borrower()->read(id, {0, tokens, blocks});
    ASSIGN_OR_RETURN(const transfer::News read, next());
    return Times{to_seconds(middle - start), to_seconds(now() - middle), read.bytes};
  }
  std::byte* memory() const { return node_->layer(0); }

 private:
  Result<transfer::News> next() {
    std::unique_lock lock(mutex_);
    std::vector<transfer::News> news;
    changed_.wait_for(lock, kPatience, [&] { return !(news = node_->borrower()->news()).empty(); });
    if (news.empty()) return internal_error("the lending process does not answer");
    if (news.front().kind == transfer::News::Kind::kFailed) return internal_error(news.front().error);
    return news.front();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::unique_ptr<transfer::Node> node_;
};

// Bytes a second of this thread, from memory of its own to where blocks are read to.
double copy_speed(std::byte* to, std::size_t bytes, double seconds) {
  const Buffer from(bytes);
  std::memset(from.data(), 1, bytes);
  double best = 0;
  const TimePoint end = now() + std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
  do {
    const TimePoint start = now();
    std::memcpy(to, from.data(), bytes);
    best = std::max(best, static_cast<double>(bytes) / to_seconds(now() - start));
  } while (now() < end);
  return best;
}

Result<int> listener() {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (fd >= 0 && bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 && listen(fd, 1) == 0) return fd;
  return internal_error("cannot listen on 127.0.0.1");
}

// Sends without end to whoever listens there.
int pour(int listening, std::size_t bytes) {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  getsockname(listening, reinterpret_cast<sockaddr*>(&address), &size);
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), size) != 0) return 1;
  const Buffer from(bytes);
  std::memset(from.data(), 1, bytes);
  for (std::size_t at = 0;;) {
    const ssize_t sent = send(fd, from.data() + at, std::min(bytes - at, kTcpChunk), MSG_NOSIGNAL);
    if (sent <= 0) return 0;
    at = (at + static_cast<std::size_t>(sent)) % bytes;
  }
}

// Bytes a second from another process over a TCP connection within this host.
Result<double> tcp_speed(std::byte* to, std::size_t bytes, double seconds) {
  ASSIGN_OR_RETURN(const int listening, listener());
  const pid_t child = fork();
  if (child == 0) _exit(pour(listening, bytes));
  const int fd = accept(listening, nullptr, nullptr);
  close(listening);
  const auto take = [&]() -> Status {
    for (std::size_t at = 0; at < bytes;) {
      const ssize_t got = recv(fd, to + at, std::min(bytes - at, kTcpChunk), 0);
      if (got <= 0) return internal_error("a connection within this host broke");
      at += static_cast<std::size_t>(got);
    }
    return {};
  };
  RETURN_IF_ERROR(take());  // every page is there
  double best = 0;
  const TimePoint end = now() + std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
  do {
    const TimePoint start = now();
    RETURN_IF_ERROR(take());
    best = std::max(best, static_cast<double>(bytes) / to_seconds(now() - start));
  } while (now() < end);
  close(fd);
  waitpid(child, nullptr, 0);
  return best;
}

Status run(const KvBench& bench) {
  ASSIGN_OR_RETURN(const auto lengths, number_list("tokens", bench.tokens));
  ASSIGN_OR_RETURN(OutputFile json, OutputFile::create(bench.json));
  const int most = *std::max_element(lengths.begin(), lengths.end());
  LendingProcess lender;
  RETURN_IF_ERROR(lender.start(bench, most));
  ReadingNode reader;
  RETURN_IF_ERROR(reader.start(bench, most));
  std::printf("%d layers, rows of %d bytes, blocks of %d tokens, over %s\n", bench.layers, bench.row_bytes, bench.block_size, bench.over.c_str());
  const bool over_tcp = bench.over == "ucx";
  const char* const beside = over_tcp ? "TCP" : "copy";
  std::printf("%8s %10s %10s %10s %10s %7s GB/s %8s\n", "tokens", "MB", "take ms", "read ms", "GB/s", beside, "share");
  std::string lines;
  for (const int tokens : lengths) {
    const auto blocks = scattered(tokens, bench.block_size);
    ReadingNode::Times best{1e9, 1e9, 0};
    const TimePoint end = now() + std::chrono::duration_cast<Duration>(std::chrono::duration<double>(bench.seconds));
    do {
      ASSIGN_OR_RETURN(const transfer::Source source, lender.hold(tokens));
      ASSIGN_OR_RETURN(const auto times, reader.fetch(source, tokens, blocks));
      best = {std::min(best.take, times.take), std::min(best.read, times.read), times.bytes};
    } while (now() < end);
    const double speed = static_cast<double>(best.bytes) / best.read;
    double bound = 0;
    if (over_tcp) {
      ASSIGN_OR_RETURN(bound, tcp_speed(reader.memory(), best.bytes, bench.seconds / 4));
    } else {
      bound = copy_speed(reader.memory(), best.bytes, bench.seconds / 4);
    }
    std::printf("%8d %10.1f %10.3f %10.3f %10.2f %12.2f %7.0f%%\n", tokens, static_cast<double>(best.bytes) * 1e-6, best.take / kMilli,
                best.read / kMilli, speed / kGiga, bound / kGiga, 100 * speed / bound);
    char line[256];
    std::snprintf(line, sizeof line, "{\"tokens\":%d,\"bytes\":%zu,\"take_s\":%g,\"read_s\":%g,\"gb_per_s\":%g,\"%s_gb_per_s\":%g}\n", tokens,
                  best.bytes, best.take, best.read, speed / kGiga, over_tcp ? "tcp" : "copy", bound / kGiga);
    lines += line;
  }
  return json.write(lines);
}

}  // namespace

int bench_kv(Words words) {
  KvBench settings;
  auto options = parse_options();
  options.positional_fields = {};
  const auto parsed = config::parse(settings, words, options);
  if (!parsed.ok()) return fail(parsed.error());
  if (parsed->help) {
    std::puts(config::help<KvBench>({"braid bench kv [flags]",
        "How fast one process reads the blocks that another one holds, beside copying as many bytes in memory (shm) or receiving them from a TCP connection (ucx).",
        "  braid bench kv --tokens 256,4096\n"}).c_str());
    return 0;
  }
  configure_log(LogLevel::kWarning, LogFormat::kHuman);
  signal(SIGPIPE, SIG_IGN);
  const Status status = run(settings);
  return status.ok() ? 0 : fail(status.error());
}

}  // namespace braid::app
