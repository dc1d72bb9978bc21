"""What the operating system gives: processes, disks, logs."""
