/* Load for `sidedoor bench relay`: the target behind the proxies, and the clients in front of them.
 *
 *   load target                                     listen on 127.0.0.1, print the port, serve until killed
 *   load MODE PROXY_PORT TARGET_PORT CONNS SECONDS  be the clients; PROXY_PORT 0: no proxy
 *
 * MODE is also the first byte of every connection, which tells the target what to do:
 *   d  down: the target sends for as long as it can         u  up: the target discards
 *   p  ping: the target echoes; each client has one message of 64 bytes under way
 *   c  connect: the target sends one byte and closes; each client then connects anew
 *
 * The clients start to count after all of them stand and a tenth of SECONDS has gone by, and print one line of JSON.
 * Both sides are one thread on epoll. Buffers are 256 KiB and are really read into, as a real program's are.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 256 * 1024, MESSAGE = 64, MOST_FDS = 16384, EVENTS = 256 };
enum state { FREE, NEW, CONNECTING, METHOD, REPLY, RUNNING };

struct conn {
    enum state state;
    char mode;
    int want; /* ping: bytes of the current message still to come */
};

static struct conn conns[MOST_FDS];
static char buffer[BUFFER];
static int poller;

static void die(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void watch(int fd, uint32_t events, int operation) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (epoll_ctl(poller, operation, fd, &event) < 0) die("epoll_ctl");
}

static void no_delay(int fd) {
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static struct sockaddr_in loopback(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static void drop(int fd) {
    conns[fd].state = FREE;
    close(fd);
}

/* ---- target ---- */

static void target_event(int fd, uint32_t events) {
    struct conn *c = &conns[fd];
    ssize_t n;
    if (c->state == NEW) {
        if ((n = recv(fd, &c->mode, 1, 0)) <= 0) {
            if (n == 0 || errno != EAGAIN) drop(fd);
            return;
        }
        c->state = RUNNING;
        if (c->mode == 'c') {
            send(fd, "c", 1, MSG_NOSIGNAL);
            drop(fd);
            return;
        }
        if (c->mode == 'd') watch(fd, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
    }
    if (c->mode == 'd' && (events & EPOLLOUT))
        if (send(fd, buffer, BUFFER, MSG_NOSIGNAL) < 0 && errno != EAGAIN) {
            drop(fd);
            return;
        }
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        if ((n = recv(fd, buffer, BUFFER, 0)) == 0 || (n < 0 && errno != EAGAIN)) {
            drop(fd);
            return;
        }
        if (c->mode == 'p' && n > 0 && send(fd, buffer, n, MSG_NOSIGNAL) < 0) drop(fd);
    }
}

static void target(void) {
    struct sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, size) < 0 || listen(listener, 4096) < 0) die("listen");
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    watch(listener, EPOLLIN, EPOLL_CTL_ADD);
    struct epoll_event ready[EVENTS];
    for (;;) {
        int count = epoll_wait(poller, ready, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            int fd = ready[i].data.fd;
            if (fd != listener) {
                target_event(fd, ready[i].events);
                continue;
            }
            while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                if (fd >= MOST_FDS) {
                    close(fd);
                    continue;
                }
                conns[fd] = (struct conn){.state = NEW};
                no_delay(fd);
                watch(fd, EPOLLIN, EPOLL_CTL_ADD);
            }
        }
    }
}

/* ---- clients ---- */

static char mode;
static int proxy_port, target_port, standing;
static uint64_t bytes, messages, connects, failures;

static void client_open(void) {
    struct sockaddr_in address = loopback(proxy_port ? proxy_port : target_port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0 || fd >= MOST_FDS) die("socket");
    no_delay(fd);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS) die("connect");
    conns[fd] = (struct conn){.state = CONNECTING, .mode = mode};
    watch(fd, EPOLLOUT, EPOLL_CTL_ADD);
}

static void client_again(int fd, int failed) {
    failures += failed;
    if (conns[fd].state == RUNNING) standing--;
    drop(fd);
    if (failures > 1000) die("more than 1000 connections failed");
    client_open();
}

static void client_run(int fd) {
    conns[fd].state = RUNNING;
    standing++;
    send(fd, &mode, 1, MSG_NOSIGNAL);
    if (mode == 'p') {
        conns[fd].want = MESSAGE;
        send(fd, buffer, MESSAGE, MSG_NOSIGNAL);
    }
    watch(fd, mode == 'u' ? EPOLLOUT : EPOLLIN, EPOLL_CTL_MOD);
}

static void client_event(int fd) {
    struct conn *c = &conns[fd];
    unsigned char reply[10];
    ssize_t n;
    switch (c->state) {
    case CONNECTING:
        if (!proxy_port) {
            client_run(fd);
            return;
        }
        if (send(fd, "\5\1\0", 3, MSG_NOSIGNAL) != 3) {
            client_again(fd, 1);
            return;
        }
        c->state = METHOD;
        watch(fd, EPOLLIN, EPOLL_CTL_MOD);
        return;
    case METHOD: {
        unsigned char request[10] = {5, 1, 0, 1, 127, 0, 0, 1, target_port >> 8, target_port & 255};
        if (recv(fd, reply, 2, 0) != 2 || reply[1] != 0 || send(fd, request, 10, MSG_NOSIGNAL) != 10)
            client_again(fd, 1);
        else
            c->state = REPLY;
        return;
    }
    case REPLY:
        if (recv(fd, reply, 10, 0) != 10 || reply[1] != 0)
            client_again(fd, 1);
        else
            client_run(fd);
        return;
    default:
        break;
    }
    if (mode == 'u') {
        if ((n = send(fd, buffer, BUFFER, MSG_NOSIGNAL)) > 0)
            bytes += n;
        else if (errno != EAGAIN)
            client_again(fd, 1);
        return;
    }
    n = recv(fd, buffer, BUFFER, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (mode == 'c') {
        if (n == 1) return; /* the byte; the end comes next */
        connects += n == 0;
        client_again(fd, n != 0);
        return;
    }
    if (n <= 0) {
        client_again(fd, 1);
        return;
    }
    bytes += n;
    if (mode == 'p' && (c->want -= n) <= 0) {
        messages++;
        c->want = MESSAGE;
        send(fd, buffer, MESSAGE, MSG_NOSIGNAL);
    }
}

static int clients(int count, double seconds) {
    struct epoll_event ready[EVENTS];
    double give_up = now() + 10, start = 0, end = 0;
    for (int i = 0; i < count; i++) client_open();
    for (;;) {
        int n = epoll_wait(poller, ready, EVENTS, 100);
        double t = now();
        for (int i = 0; i < n; i++)
            if (conns[ready[i].data.fd].state != FREE) client_event(ready[i].data.fd);
        if (!end) {
            if (standing == count || (mode == 'c' && connects)) {
                start = t + seconds / 10;
                end = start + seconds;
            } else if (t > give_up) {
                die("the connections did not stand within 10 s");
            }
        } else if (start && t >= start) {
            printf("{\"event\": \"start\"}\n");
            fflush(stdout);
            bytes = messages = connects = failures = 0;
            end = t + seconds;
            seconds = t;
            start = 0;
        } else if (!start && t >= end) {
            printf("{\"event\": \"end\", \"seconds\": %.6f, \"bytes\": %llu, \"messages\": %llu, \"connects\": %llu, "
                   "\"failures\": %llu}\n",
                   t - seconds, (unsigned long long)bytes, (unsigned long long)messages,
                   (unsigned long long)connects, (unsigned long long)failures);
            return 0;
        }
    }
}

int main(int argc, char **argv) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max < MOST_FDS ? limit.rlim_max : MOST_FDS;
    setrlimit(RLIMIT_NOFILE, &limit);
    signal(SIGPIPE, SIG_IGN);
    memset(buffer, 'x', sizeof buffer);
    poller = epoll_create1(0);
    if (argc == 2 && !strcmp(argv[1], "target")) target();
    if (argc != 6) {
        fprintf(stderr, "usage: load target | load d|u|p|c PROXY_PORT TARGET_PORT CONNS SECONDS\n");
        return 2;
    }
    mode = argv[1][0];
    proxy_port = atoi(argv[2]);
    target_port = atoi(argv[3]);
    return clients(atoi(argv[4]), atof(argv[5]));
}
