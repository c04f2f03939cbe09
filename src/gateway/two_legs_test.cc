// SPDX-License-Identifier: Apache-2.0
#include "gateway/two_legs.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <utility>

namespace braid::gateway {
namespace {

const std::vector<net::Header> kEarly{{"x-kv-transfer-params", R"({"from":"early"})"}};
constexpr const char* kWhole = R"({"kv_transfer_params":{"from":"whole"}})";

// Calls go where the test wants.
class ScriptedPool final : public net::ClientPool {
 public:
  struct Call {
    std::string host, body;
    net::ClientHandlers handlers;
  };
  CallId start(net::PoolRequest request, net::ClientHandlers handlers) override {
    calls[++last_] = {request.host, std::string(request.body), std::move(handlers)};
    return last_;
  }
  void cancel(CallId id) override {
    if (calls.contains(id)) done(id, Error{ErrorCode::kCancelled, "cancelled", {}});
  }
  void pause(CallId) override {}
  void resume(CallId) override {}
  std::size_t send(CallId, std::string_view) override { return 0; }
  void end_body(CallId) override {}
  int connections() const override { return static_cast<int>(calls.size()); }

  CallId running(const std::string& host) const {
    for (const auto& [id, call] : calls) {
      if (call.host == host) return id;
    }
    return 0;
  }
  void early(const std::string& host) { copy(host).on_early(kEarly); }
  void head(const std::string& host, int status) { copy(host).on_head(status, {{"content-length", "2"}}); }
  void data(const std::string& host, std::string_view bytes) { copy(host).on_data(bytes); }
  void end(const std::string& host, Status status = {}) { done(running(host), std::move(status)); }
  void answer(const std::string& host, int status, std::string_view body = "{}") {
    const CallId id = running(host);
    head(host, status);
    if (running(host) != id) return;  // given up
    data(host, body);
    end(host);
  }

  std::map<CallId, Call> calls;

 private:
  net::ClientHandlers copy(const std::string& host) { return calls.at(running(host)).handlers; }
  void done(CallId id, Status status) {
    const auto call = calls.extract(id);
    call.mapped().handlers.on_done(std::move(status));
  }
  CallId last_ = 0;
};

class SilentClient final : public net::ResponseWriter {
 public:
  void send(net::Response) override {}
  void early(std::vector<net::Header>) override {}
  void begin(net::Response) override {}
  void write(std::string) override {}
  void end() override {}
  void abort() override {}
  std::size_t buffered() const override { return 0; }
  void on_drained(std::function<void()>) override {}
  bool open() const override { return true; }
  void on_close(std::function<void()>) override {}
};

// Writes down what it is told, and decodes when it is time.
class Diary final : public TwoLegs::Owner, public std::enable_shared_from_this<Diary> {
 public:
  void begin() {
    ASSERT_TRUE(legs.divide("/v1/completions", body, true).ok());
    legs.prefill(pool, "p", wire("p"), shared_from_this());
  }
  std::string take() { return std::exchange(told, {}); }
  // What the decode server was last asked for.
  std::string asked() const {
    const auto id = pool.running("d");
    return id == 0 ? "" : pool.calls.at(id).body;
  }

  void prefilled(const PrefillAnswer& answer) override { told += "prefilled" + answer.transfer + " "; }
  void prefill_failed(Result<Collected>, bool matters) override { over(matters ? "failed " : "late ", matters); }
  void start_decode() override {
    told += "decode ";
    legs.decode(pool, {"d", body, {}, std::make_shared<SilentClient>()}, wire("d"), shared_from_this());
  }
  bool on_head(int status, const std::vector<net::Header>&) override { return status < 500 || !legs.leave_to_prefill(); }
  void on_piece(std::int64_t) override {}
  void on_writable() override {}
  void decoded(const RelayEnd& end) override {
    over("decoded" + std::to_string(end.status.ok() ? end.answered : 0) + " ", true);
    legs.drop_prefill();
  }

  static TwoLegs::MakeWire wire(const std::string& host) {
    return [host](std::string_view bytes) {
      net::PoolRequest request;
      request.host = host;
      request.body = bytes;
      return request;
    };
  }

  ScriptedPool pool;
  SteadyClock clock;
  Journey journey{"test", nullptr, clock.now()};
  TwoLegs legs{journey, clock};
  std::string body = R"({"prompt":"x"})";
  std::string told;
  int ends = 0;

 private:
  void over(const std::string& what, bool counts) {
    told += what;
    ends += counts;
  }
};

class TwoLegsTest : public ::testing::Test {
 protected:
  void SetUp() override { diary->begin(); }
  std::shared_ptr<Diary> diary = std::make_shared<Diary>();
  ScriptedPool& pool = diary->pool;
};

TEST_F(TwoLegsTest, OneAfterTheOther) {
  pool.answer("p", 200, kWhole);
  EXPECT_EQ(diary->take(), R"(prefilled{"from":"whole"} decode )");
  EXPECT_EQ(diary->asked(), R"({"prompt":"x","kv_transfer_params":{"from":"whole"}})");
  pool.answer("d", 500);
  EXPECT_EQ(diary->take(), "decoded500 ");
}

TEST_F(TwoLegsTest, DecodingBeginsWithTheFirstEarlyAnswer) {
  pool.early("p");
  EXPECT_EQ(diary->asked(), R"({"prompt":"x","kv_transfer_params":{"from":"early"}})");
  pool.early("p");
  EXPECT_EQ(diary->take(), "decode ");
  pool.answer("p", 200, kWhole);
  pool.answer("d", 200);
  EXPECT_EQ(diary->take(), R"(prefilled{"from":"whole"} decoded200 )");
}

TEST_F(TwoLegsTest, AnErrorOfAnEarlyDecodeIsLeftToThePrefill) {
  for (const bool decode_first : {true, false}) {
    pool.early("p");
    if (decode_first) pool.answer("d", 500);
    pool.answer("p", 200, kWhole);
    if (!decode_first) pool.answer("d", 500);
    EXPECT_EQ(diary->take(), R"(decode prefilled{"from":"whole"} decode )");
    EXPECT_EQ(diary->asked(), R"({"prompt":"x","kv_transfer_params":{"from":"whole"}})");
    pool.answer("d", 500);  // now it is its own
    EXPECT_EQ(diary->take(), "decoded500 ");
    diary->legs.reset();
    diary->begin();
  }
}

TEST_F(TwoLegsTest, AFailedPrefillEndsAnEarlyDecodeUnlessItsAnswerIsTheClients) {
  pool.early("p");
  pool.answer("p", 503);
  EXPECT_EQ(diary->take(), "decode failed ");
  EXPECT_TRUE(pool.calls.empty());
  diary->begin();
  pool.early("p");
  pool.head("d", 200);
  pool.end("p", Error{ErrorCode::kUnavailable, "gone", {}});
  pool.data("d", "{}");
  pool.end("d");
  EXPECT_EQ(diary->take(), "decode late decoded200 ");
}

// Whatever comes in whatever order: one end, and nothing that runs after it.
TEST_F(TwoLegsTest, EveryRequestEndsOnceInAnyOrderOfEvents) {
  std::mt19937 random(7);
  const auto below = [&](unsigned n) { return std::uniform_int_distribution<unsigned>(0, n - 1)(random); };
  for (int round = 0; round < 2000; ++round) {
    diary = std::make_shared<Diary>();
    diary->begin();
    ScriptedPool& calls = diary->pool;
    while (!calls.calls.empty()) {
      ASSERT_EQ(diary->ends, 0);
      const std::string host = below(2) == 0 ? "p" : "d";
      if (below(12) == 0) diary->legs.cancel();
      else if (calls.running(host) == 0) continue;
      else if (host == "p" && below(2) == 0) calls.early(host);
      else if (below(3) == 0) calls.end(host, Error{ErrorCode::kUnavailable, "gone", {}});
      else calls.answer(host, below(2) == 0 ? 200 : 500, kWhole);
    }
    ASSERT_EQ(diary->ends, 1) << diary->told;
  }
}

}  // namespace
}  // namespace braid::gateway
