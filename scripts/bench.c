// The other side of scripts/bench: the child that writes, and the tight read loop to compare with.
//
//   bench write BYTES          80-column text to stdout, in blocks of 64 KB
//   bench drain COUNT CMD...   CMD on each of COUNT PTYs, output processing and echo off, read and
//                              discarded by one thread; prints bytes, seconds and CPU seconds, from
//                              before the first spawn to the end of the last output

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include <utmp.h>

enum { MOST = 64, COLUMNS = 80, BLOCK = 819 * COLUMNS, ROOM = 64 * 1024 };

static char room[ROOM];

static void die(const char *what) {
    fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int write_text(long long left) {
    static char block[BLOCK];
    for (int i = 0; i < BLOCK; i++)
        block[i] = i % COLUMNS == COLUMNS - 1 ? '\n' : 'a' + i % 26;
    while (left > 0) {
        ssize_t wrote = write(STDOUT_FILENO, block, left < BLOCK ? left : BLOCK);
        if (wrote < 0)
            die("write");
        left -= wrote;
    }
    return 0;
}

// Close-on-exec: a later child that kept a master open would keep its slave from hanging up.
static int spawn(char **command) {
    int master, slave;
    struct termios modes;
    if (openpty(&master, &slave, NULL, NULL, NULL) || fcntl(master, F_SETFD, FD_CLOEXEC))
        die("openpty");
    if (tcgetattr(slave, &modes))
        die("tcgetattr");
    modes.c_oflag &= ~OPOST;
    modes.c_lflag &= ~ECHO;
    if (tcsetattr(slave, TCSANOW, &modes))
        die("tcsetattr");
    pid_t child = fork();
    if (child < 0)
        die("fork");
    if (child == 0) {
        if (login_tty(slave) == 0)
            execv(command[0], command);
        _exit(127);
    }
    close(slave);
    return master;
}

static long long drain_one(int master) {
    long long total = 0;
    ssize_t got;
    while ((got = read(master, room, ROOM)) > 0)
        total += got;
    return total;
}

static long long drain_many(const int *masters, int count) {
    long long total = 0;
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0)
        die("epoll");
    for (int i = 0; i < count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = masters[i]};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, masters[i], &event))
            die("epoll");
    }
    for (int open = count; open > 0;) {
        struct epoll_event events[MOST];
        int ready = epoll_wait(epoll, events, MOST, -1);
        for (int i = 0; i < ready; i++) {
            ssize_t got = read(events[i].data.fd, room, ROOM);
            if (got > 0) {
                total += got;
            } else {  // EIO, a level: it would be reported for ever
                epoll_ctl(epoll, EPOLL_CTL_DEL, events[i].data.fd, NULL);
                open--;
            }
        }
    }
    return total;
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static double cpu(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec +
           (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static int drain(int count, char **command) {
    int masters[MOST];
    double cpu_before = cpu(), before = now();
    for (int i = 0; i < count; i++)
        masters[i] = spawn(command);
    long long total = count == 1 ? drain_one(masters[0]) : drain_many(masters, count);
    printf("%lld %.6f %.6f\n", total, now() - before, cpu() - cpu_before);
    while (wait(NULL) > 0)
        ;
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 3 && !strcmp(argv[1], "write"))
        return write_text(atoll(argv[2]));
    if (argc > 3 && !strcmp(argv[1], "drain")) {
        int count = atoi(argv[2]);
        if (count >= 1 && count <= MOST)
            return drain(count, argv + 3);
    }
    fprintf(stderr, "usage: bench write BYTES | bench drain COUNT CMD...\n");
    return 2;
}
