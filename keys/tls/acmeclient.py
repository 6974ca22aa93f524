"""One order of an ACME server (RFC 8555), by the `acme` library, whose errors become ours here."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import requests
from acme import challenges, client, errors, messages
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from josepy.errors import Error as JoseError
from josepy.jwa import ES256
from josepy.jwk import JWKEC
from requests.adapters import HTTPAdapter

from keys.tls.authority import new_key, read_key
from lib.errors import AmpzeroError, RefusedError, UnreachableError
from lib.files import write_atomic

ORDER_TIME = timedelta(seconds=120)
"""How long the server may take over its questions and the certificate."""
NETWORK_TIME = 20
"""Seconds without a byte of an answer."""
NONCES = 4
"""How often a request is made again, twice each time, because the server has forgotten a nonce."""
LARGEST_ANSWER = 256 * 1024
TOKEN = re.compile("[A-Za-z0-9_-]{1,128}")
"""A challenge's token (RFC 8555, 8.3): it becomes a file's name."""


def obtain(
    directory: str, ca: Path | None, email: str, names: Sequence[str], key: ec.EllipticCurvePrivateKey,
    account: Path, answers: Path,
) -> bytes:  # fmt: skip
    """A certificate with its chain (PEM) for `names` and `key`, of the server whose directory is that URL.

    `ca` has the certificates that the server's own is checked by, where those of this system do not do.
    The account is made at the first call and kept in the folder `account`; what the server wants to see at
    http://NAME/.well-known/acme-challenge/TOKEN is put into the folder `answers` meanwhile.

    Raises: UnreachableError, RefusedError with the server's words, StorageError, TrustError.
    """
    with _translated(directory):
        net = _Network(
            _account_key(account / "account.key"),
            alg=ES256,
            user_agent="ampzero",
            timeout=NETWORK_TIME,
        )
        net.session.mount("https://", _Adapter(ca))
        net.session.mount("http://", _Adapter(ca))
        server = client.ClientV2(client.ClientV2.get_directory(directory, net), net)
        _log_in(server, directory, email, account / "account.json")
        request = _request(names, key)
        try:
            order = server.new_order(request)
        except messages.Error as error:
            if error.code != "accountDoesNotExist":
                raise
            # The server has forgotten it: another one, once.
            (account / "account.json").unlink(missing_ok=True)
            server.net.account = None
            _log_in(server, directory, email, account / "account.json")
            order = server.new_order(request)
        placed: list[Path] = []
        try:
            for authorization in order.authorizations:
                placed += _answer(server, authorization, answers)
            # The library wants a time of day in this machine's zone.
            order = server.poll_and_finalize(order, datetime.now() + ORDER_TIME)
        finally:
            for path in placed:
                path.unlink(missing_ok=True)
        return str(order.fullchain_pem).encode()


class _Network(client.ClientNetwork):
    """Asks again with another nonce as often as a server wants it (RFC 8555, 6.5); the library does once."""

    def post(self, *words: Any, **options: Any) -> requests.Response:
        """As the library's."""
        for _ in range(NONCES):
            try:
                return super().post(*words, **options)
            except messages.Error as error:
                if error.code != "badNonce":
                    raise
        return super().post(*words, **options)


class _Adapter(HTTPAdapter):
    """Checks the server by `ca`, where there is one, and reads no answer of any length."""

    def __init__(self, ca: Path | None) -> None:
        super().__init__()
        self._ca = ca

    def send(self, request: requests.PreparedRequest, *more: Any, **options: Any) -> requests.Response:
        """As the library's."""
        if self._ca is not None:
            options["verify"] = str(self._ca)
        response = super().send(request, *more, **{**options, "stream": True})
        body = response.raw.read(LARGEST_ANSWER + 1, decode_content=True)
        if len(body) > LARGEST_ANSWER:
            response.close()
            raise requests.ConnectionError(f"an answer of more than {LARGEST_ANSWER} bytes")
        # What requests itself sets once the body is read.
        response._content, response._content_consumed = body, True
        return response


def _account_key(path: Path) -> JWKEC:
    if not path.exists():
        write_atomic(path, new_key(), 0o600, sync=True)
    return JWKEC(key=read_key(path))


def _log_in(server: client.ClientV2, directory: str, email: str, path: Path) -> None:
    """Use the account that the file names, or make one, which the server knows by the key if it has it."""
    try:
        known = json.loads(path.read_text())
        if known["directory"] == directory:
            server.net.account = messages.RegistrationResource(
                uri=str(known["uri"]), body=messages.Registration()
            )
            return
    except (OSError, ValueError, KeyError, TypeError):
        pass
    try:
        made = server.new_account(
            messages.NewRegistration.from_data(email=email or None, terms_of_service_agreed=True)
        )
        uri = made.uri
    except errors.ConflictError as error:
        uri = error.location
        server.net.account = messages.RegistrationResource(uri=uri, body=messages.Registration())
    write_atomic(path, json.dumps({"directory": directory, "uri": uri}) + "\n", 0o600)


def _request(names: Sequence[str], key: ec.EllipticCurvePrivateKey) -> bytes:
    """A certificate signing request (RFC 2986); the names stand in its alternative names."""
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])] if len(names[0]) < 64 else [])
        )
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )


def _answer(
    server: client.ClientV2, authorization: messages.AuthorizationResource, folder: Path
) -> list[Path]:
    """Put the answer of one name in place and have the server look; the files that were made."""
    if authorization.body.status == messages.STATUS_VALID:
        return []
    name = authorization.body.identifier.value
    for offered in authorization.body.challenges:
        if isinstance(offered.chall, challenges.HTTP01):
            response, answer = offered.chall.response_and_validation(server.net.key)
            token = str(offered.chall.encode("token"))
            if not TOKEN.fullmatch(token):
                raise RefusedError(f"the ACME server asks for {name} with a token that is none")
            write_atomic(folder / token, answer, 0o600)
            server.answer_challenge(offered, response)
            return [folder / token]
    raise RefusedError(f"the ACME server does not offer http-01 for {name}", "it is the only way known here")


@contextmanager
def _translated(directory: str) -> Iterator[None]:
    """Raises: UnreachableError, RefusedError instead of the library's errors."""
    try:
        yield
    except AmpzeroError:
        raise
    except errors.ValidationError as error:
        raise RefusedError(
            f"the ACME server could not check the names: {_why(error)}",
            "each name must lead to this machine, and port 80 be reached from outside",
        ) from error
    except messages.Error as error:
        what = f"the ACME server refuses: {error.detail or error.typ}"
        raise RefusedError(what[:500], f"server: {directory}") from error
    except requests.RequestException as error:
        raise UnreachableError(f"the ACME server {directory} cannot be reached: {error}"[:500]) from error
    except errors.TimeoutError as error:
        raise UnreachableError(f"the ACME server {directory} did not come to an end in time") from error
    except (errors.Error, JoseError, ValueError, KeyError, TypeError, AttributeError) as error:
        # An answer that is no JSON, or lacks what the protocol demands, ends in any of these.
        raise RefusedError(
            f"the ACME server {directory} answers with what is not ACME: {error}"[:500]
        ) from error


def _why(error: errors.ValidationError) -> str:
    found = []
    for authorization in error.failed_authzrs:
        for one in authorization.body.challenges:
            if one.error is not None:
                found.append(f"{authorization.body.identifier.value}: {one.error.detail or one.error.typ}")
    return "; ".join(found)[:400]
