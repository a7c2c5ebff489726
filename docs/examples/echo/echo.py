from jackfield import Connection, Handler, HandlerOptions


class Options(HandlerOptions):  # its section of config.yaml
    prefix: str = ""


class Echo(Handler[Options]):
    """Say everything back."""

    async def serve(self, connection: Connection) -> None:
        async for message in connection:  # str where it was text, bytes where it was binary
            await connection.send(message if isinstance(message, bytes) else self.options.prefix + message)
