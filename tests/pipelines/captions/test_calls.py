"""A call goes to the address that was checked, and to no address that it must not go to."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipelines.captions.calls import Caller, ForbiddenAddressError, UnreachableError, addresses, forbidden
from tests.pipelines.captions.listener import Server, listening

NEVER = ("169.254.169.254", "0.0.0.0", "::", "fe80::1", "224.0.0.1", "ff02::1", "::ffff:169.254.169.254",
         "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::")  # fmt: skip
PRIVATE = ("127.0.0.1", "10.0.0.7", "192.168.1.1", "172.16.0.1", "100.64.0.1", "::1", "fd00::1", "::ffff:127.0.0.1",
           "64:ff9b::7f00:1", "198.18.0.1")  # fmt: skip


@pytest.mark.parametrize("address", NEVER)
def test_some_addresses_are_never_called(address: str) -> None:
    assert forbidden(address, private=True)
    assert forbidden(address, private=False)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_called_only_where_the_manifest_says_so(address: str) -> None:
    assert forbidden(address, private=True) is None
    assert "private: true" in (forbidden(address, private=False) or "")


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"])
def test_public_addresses_are_called(address: str) -> None:
    assert forbidden(address, private=False) is None


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f000001", "127.0.0.1", "localhost", "0", "[::1]"])
def test_other_spellings_of_loopback_are_found_out(host: str) -> None:
    with pytest.raises(ForbiddenAddressError):
        Caller(timeout_seconds=60).post(f"http://{host}:9/v1", headers={}, body={})


def test_every_address_of_a_name_is_checked(server: Server) -> None:
    caller = Caller(timeout_seconds=60, private=True, resolve=lambda host, port: ["127.0.0.1", "169.254.169.254"])
    with pytest.raises(ForbiddenAddressError, match=r"friendly\.example is 169\.254\.169\.254, which is link-local"):
        caller.post(f"http://friendly.example:{server.url.split(':')[2]}", headers={}, body={})
    assert server.asked == []


def test_a_name_that_changes_its_address_after_the_check_is_not_asked_again(server: Server) -> None:
    answers = [["127.0.0.1"], ["169.254.169.254"]]
    caller = Caller(timeout_seconds=60, private=True, resolve=lambda host, port: answers.pop(0))
    port = server.url.split(":")[2].split("/")[0]
    assert caller.post(f"http://rebinding.example:{port}/v1", headers={}, body={}).status == 200
    assert len(answers) == 1, "resolved once: the checked address is the one that was called"
    assert server.asked[0][1]["host"] == f"rebinding.example:{port}"


def test_the_next_address_is_tried_where_one_refuses(server: Server) -> None:
    caller = Caller(timeout_seconds=60, private=True, resolve=lambda host, port: ["::1", "127.0.0.1"])
    assert caller.post(server.url, headers={}, body={}).status == 200


def test_nobody_there_is_a_sentence() -> None:
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1 cannot be reached"):
        Caller(timeout_seconds=60, private=True).post("http://127.0.0.1:1/v1", headers={}, body={})
    with pytest.raises(UnreachableError, match="no address"):
        addresses("no-such-host.invalid", 443)


def certificate(folder: Path, *, name: str) -> tuple[Path, Path]:
    """A self-signed certificate and its key, in PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    pem, form, plain = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(pem, form, plain))
    return folder / "cert.pem", folder / "key.pem"


def test_a_certificate_is_held_against_the_name_though_the_address_is_called(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path, name="captions.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    with listening(context) as server:
        port = server.url.split(":")[2].split("/")[0]
        caller = Caller(60, private=True, ca_file=cert, resolve=lambda host, port: ["127.0.0.1"])
        assert caller.post(f"https://captions.example:{port}/v1", headers={}, body={}).status == 200
        with pytest.raises(UnreachableError, match="CERTIFICATE_VERIFY_FAILED"):
            caller.post(f"https://other.example:{port}/v1", headers={}, body={})
        strict = Caller(60, private=True, resolve=lambda host, port: ["127.0.0.1"])
        with pytest.raises(UnreachableError, match="CERTIFICATE_VERIFY_FAILED"):
            strict.post(f"https://captions.example:{port}/v1", headers={}, body={})
