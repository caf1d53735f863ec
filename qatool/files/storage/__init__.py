"""Files on a disk or in an object store: paths, reading, and atomic writing."""
