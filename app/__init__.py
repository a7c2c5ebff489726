"""The service: one dispatcher, and what one WebSocket needs from the kernel to its handler. It knows no handler."""

if __name__ != "jackfield.app":
    raise ImportError("`app` is a folder of the package jackfield: import jackfield.app instead")
