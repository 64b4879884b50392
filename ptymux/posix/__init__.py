"""All system calls about terminals, processes and memory; OSError becomes an error of ours."""
