"""The certificate of the service: TLS 1.2 and newer, read again when its files change."""

import ssl
from typing import NoReturn

from jackfield.app.config.settings import TlsSettings
from jackfield.app.errors import CannotStart
from jackfield.app.logger import get_logger
from jackfield.app.reloading import Reloaded

log = get_logger()


class Certificate(Reloaded):
    """`context` is for listening. A new pair is for new connections; one that does not fit is logged, and not used.

    Raises CannotStart where the first pair cannot be used.
    """

    def __init__(self, settings: TlsSettings) -> None:
        super().__init__(settings.certificate, settings.key)
        self._settings = settings
        self.context = self._load()

    def _reload(self) -> None:
        try:
            self._load()  # into another context: one into which half a pair was loaded serves nobody
            self._fill(self.context)
        except CannotStart as error:
            log.warning("certificate.refused", problem=str(error))
        else:
            log.info("certificate.read")

    def _load(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._fill(context)
        return context

    def _fill(self, context: ssl.SSLContext) -> None:
        certificate, key = self._settings.certificate, self._settings.key
        try:
            context.load_cert_chain(certificate, key, password=_refuse_password)
        except (ssl.SSLError, OSError) as error:
            raise CannotStart(f"the certificate {certificate} cannot be used: {error}") from error


def _refuse_password() -> NoReturn:
    """The password callback: OpenSSL would else ask on the terminal, and wait."""
    raise CannotStart("the key of the certificate is encrypted: a service has nobody to ask for its password")
