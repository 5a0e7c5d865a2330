"""What the operating system gives: processes, signals, files, disk space, log and progress bars."""
