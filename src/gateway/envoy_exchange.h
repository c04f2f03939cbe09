// SPDX-License-Identifier: Apache-2.0
// One request in an Envoy that asks where it should go (ext_proc). Envoy connects to the endpoint and
// streams; here the request's bytes are read for the decision and given back with it, and the answer's
// bytes pass through for their usage and, after a rewrite, the model's name.
// Thread rules: the event loop's thread only.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "extproc/server.h"
#include "gateway/answer_rewriter.h"
#include "gateway/passage.h"
#include "gateway/usage.h"

namespace braid::gateway {

class EnvoyExchange final : public Passage, public extproc::Processor {
 public:
  EnvoyExchange(Core& core, std::shared_ptr<extproc::Stream> envoy) : Passage(core), envoy_(std::move(envoy)) {}

  void on_message(extproc::Message message) override;
  void on_closed() override;
  void evict() override;

 private:
  void on_request_headers(extproc::Message message);
  void on_request_body(extproc::Message message);
  void on_request_complete();
  void on_response_headers(extproc::Message message);
  void on_response_body(extproc::Message message);
  void pass_on(extproc::Message message);  // a piece of the answer
  void on_response_trailers();
  void decided() override;
  void refused(const Refused& refused) override;
  // Another endpoint of the decision than its first has answered.
  void served_by(const std::string& host_port);
  void send_body(extproc::Part part, std::string_view bytes, bool end, std::vector<extproc::Reply>& replies) const;
  void end_answer();

  const std::shared_ptr<extproc::Stream> envoy_;
  router::IncomingRequest incoming_;
  std::vector<std::string> client_routing_headers_;  // names; they do not pass
  bool has_body_ = false;
  bool has_trailers_ = false;
  bool complete_ = false;  // the request
  bool over_ = false;
  int status_ = 0;         // of the answer
  std::int64_t bytes_ = 0;
  std::unique_ptr<AnswerRewriter> rewriter_;  // none: bytes pass as they are
  UsageReader usage_;
  bool streams_ = false;   // the answer is one of events
  TimePoint answer_began_{};
  Duration processing_{};  // of its pieces
};

}  // namespace braid::gateway
