"""The command `jackfield upload`."""
