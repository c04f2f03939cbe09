// SPDX-License-Identifier: Apache-2.0
// Envoy's side of external processing, for tests and measurements. Calls block.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "extproc/messages.h"

namespace braid::extproc {

// One HTTP request. Thread rules: one thread may send while another takes.
class ClientStream {
 public:
  virtual ~ClientStream() = default;  // breaks off what is left
  virtual void send(Message message) = 0;
  virtual std::optional<Told> next() = 0;  // none: the processor has ended the stream
  // Ends the stream; "" if the processor found nothing wrong, else what it says.
  virtual std::string close() = 0;
};

class Client {
 public:
  // `tls`: without looking at the certificate. Connects when first used.
  static std::unique_ptr<Client> create(const std::string& host_port, bool tls = false);
  virtual ~Client() = default;

  // A stream that takes longer breaks off.
  virtual std::unique_ptr<ClientStream> open(Duration timeout) = 0;
  // Of gRPC's health service: "SERVING", "NOT_SERVING", or the error.
  virtual std::string health(const std::string& service, Duration timeout) = 0;
};

}  // namespace braid::extproc
