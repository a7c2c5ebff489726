"""What comes with the service; each is a folder that can be taken out."""

if __name__ != "jackfield.handlers":
    raise ImportError("`handlers` is a folder of the package jackfield: import jackfield.handlers instead")
