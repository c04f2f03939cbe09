// SPDX-License-Identifier: Apache-2.0
#include "extproc/certificate.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <memory>

namespace braid::extproc {
namespace {

constexpr long kTenYears = 10L * 365 * 24 * 3600;

template <auto Free>
struct Deleter {
  template <class T>
  void operator()(T* object) const { Free(object); }
};
using Bytes = std::unique_ptr<BIO, Deleter<BIO_free_all>>;

template <class Write>
std::string text_of(Write write) {
  const Bytes bytes(BIO_new(BIO_s_mem()));
  if (!bytes || write(bytes.get()) != 1) return {};
  char* data = nullptr;
  const long size = BIO_get_mem_data(bytes.get(), &data);
  return {data, static_cast<std::size_t>(size)};
}

}  // namespace

Result<Certificate> self_signed() {
  const std::unique_ptr<EVP_PKEY, Deleter<EVP_PKEY_free>> key(EVP_EC_gen("P-256"));
  const std::unique_ptr<X509, Deleter<X509_free>> x509(X509_new());
  if (!key || !x509) return internal_error("can't make a key for TLS");
  X509_set_version(x509.get(), 2);
  ASN1_INTEGER_set(X509_get_serialNumber(x509.get()), 1);
  X509_gmtime_adj(X509_getm_notBefore(x509.get()), 0);
  X509_gmtime_adj(X509_getm_notAfter(x509.get()), kTenYears);
  X509_set_pubkey(x509.get(), key.get());
  X509_NAME* name = X509_get_subject_name(x509.get());
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>("braid"), -1, -1, 0);
  X509_set_issuer_name(x509.get(), name);
  if (X509_sign(x509.get(), key.get(), EVP_sha256()) == 0) return internal_error("can't sign a certificate for TLS");
  Certificate made{text_of([&](BIO* out) { return PEM_write_bio_X509(out, x509.get()); }),
                   text_of([&](BIO* out) { return PEM_write_bio_PrivateKey(out, key.get(), nullptr, nullptr, 0, nullptr, nullptr); })};
  if (made.certificate.empty() || made.key.empty()) return internal_error("can't write a certificate for TLS");
  return made;
}

}  // namespace braid::extproc
