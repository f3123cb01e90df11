%% The benchmark's questions put to Erlang/OTP. A thread of ours is a scheduler here: processes are bound to one
%% with the spawn option {scheduler, N}, so run it with +S 2:2. Prints the figures as JSON.
-module(otp).
-export([main/1]).

-define(PER_TURN, 64).
%% Messages under way at most: a process's message queue knows no bound, ours has one.
-define(WINDOW, 4096).

main([Question, Ms]) ->
    Figures = measure(list_to_atom(Question), list_to_integer(Ms)),
    Fields = [io_lib:format("\"~s\":~p", [Key, Value]) || {Key, Value} <- Figures],
    io:format("{~s}~n", [lists:join(",", Fields)]),
    halt(0).

measure(hereOneWay, Ms) -> one_way(1, 1, Ms);
measure(oneWay, Ms) -> one_way(1, 2, Ms);
measure(herePingPong, Ms) -> ping_pong(1, 1, Ms);
measure(pingPong, Ms) -> ping_pong(1, 2, Ms);
measure(ring, Ms) -> ring(1000, 100, Ms);
measure(ask, Ms) -> ask(Ms);
measure(spawn, Ms) -> spawn_rate(Ms);
measure(memory, _) -> memory(100000).

now_us() -> erlang:monotonic_time(microsecond).
on(Scheduler, Fun) -> spawn_opt(Fun, [{scheduler, Scheduler}]).

%% The parts that stay the same come from the caller's heap: as literals they would not be copied.
parts() -> {binary:copy(<<"example.org:25">>), binary:copy(<<"mx.example.org">>),
            binary:copy(<<"2.0.0 Ok: queued as 4B1234">>), binary:copy(<<"a">>, 92)}.
result(Relay, Reply) -> #{relay => Relay, code => 250, reply => Reply}.

%% --- One way

one_way(From, To, Ms) ->
    Sink = on(To, fun() -> sink(0) end),
    flood(From, Sink, Ms div 3),
    Start = now_us(),
    Sent = flood(From, Sink, Ms),
    [{rate, Sent * 1.0e6 / (now_us() - Start)}].

flood(Scheduler, Sink, Ms) ->
    Self = self(),
    on(Scheduler, fun() -> Self ! {sent, flood(Sink, parts(), now_us() + Ms * 1000, 0, 0)} end),
    receive {sent, Sent} -> Sent end.

flood(Sink, Parts, End, Sent, Acked) when Sent - Acked >= ?WINDOW ->
    receive taken -> flood(Sink, Parts, End, Sent, Acked + ?WINDOW div 2) end;
flood(Sink, Parts, End, Sent, Acked) ->
    send(Sink, Parts, ?PER_TURN),
    All = Sent + ?PER_TURN,
    case All rem (?WINDOW div 2) of 0 -> Sink ! {ack, self()}; _ -> ok end,
    case now_us() < End of
        true -> flood(Sink, Parts, End, All, Acked);
        false -> Sink ! {until, self()}, receive {count, _} -> All end
    end.

send(_, _, 0) -> ok;
send(Sink, {Destination, Relay, Reply, Note} = Parts, N) ->
    Sink ! {take, Destination, result(Relay, Reply), Note},
    send(Sink, Parts, N - 1).

sink(Count) ->
    receive
        {take, _Destination, _Result, _Note} -> sink(Count + 1);
        {ack, From} -> From ! taken, sink(Count);
        {until, From} -> From ! {count, Count}, sink(Count)
    end.

%% --- Ping-pong: its processes hand the message back and forth.

ping_pong(From, To, Ms) ->
    Pong = on(To, fun pong/0),
    rally(From, Pong, Ms div 3),
    Samples = lists:sort(rally(From, Pong, Ms)),
    Count = length(Samples),
    [{rate, Count * 1000 / Ms}, {p50, nth(Samples, Count div 2)}, {p99, nth(Samples, Count * 99 div 100)}].

nth(Samples, N) -> erlang:convert_time_unit(lists:nth(max(N, 1), Samples), native, nanosecond) / 1000.

rally(Scheduler, Pong, Ms) ->
    Self = self(),
    on(Scheduler, fun() ->
        Now = erlang:monotonic_time(),
        End = Now + erlang:convert_time_unit(Ms, millisecond, native),
        Self ! {samples, rally(Pong, parts(), Now, End, [])}
    end),
    receive {samples, Samples} -> Samples end.

rally(_, _, Now, End, Samples) when Now >= End -> Samples;
rally(Pong, {_, Relay, Reply, Note} = Parts, Before, End, Samples) ->
    Pong ! {ping, self(), result(Relay, Reply), Note},
    receive {pong, _, _} -> ok end,
    Now = erlang:monotonic_time(),
    rally(Pong, Parts, Now, End, [Now - Before | Samples]).

pong() ->
    receive {ping, From, Result, Note} -> From ! {pong, Result, Note}, pong() end.

%% --- Calls as gen_server makes them: a monitor, a request, a reply.

ask(Ms) ->
    Server = on(2, fun server/0),
    [_, {p50, P50} | _] = calls(1, Server, Ms div 2),
    Self = self(),
    Count = 64,
    Half = Ms div 2,
    Start = now_us(),
    [on(1, fun() -> Self ! {done, length(calling(Server, parts(), now_us() + Half * 1000, []))} end)
     || _ <- lists:seq(1, Count)],
    All = lists:sum([receive {done, N} -> N end || _ <- lists:seq(1, Count)]),
    [{p50, P50}, {rate, All * 1.0e6 / (now_us() - Start)}].

calls(Scheduler, Server, Ms) ->
    Self = self(),
    on(Scheduler, fun() -> Self ! {samples, calling(Server, parts(), now_us() + Ms * 1000, [])} end),
    Samples = receive {samples, S} -> lists:sort(S) end,
    Count = length(Samples),
    [{rate, Count * 1000 / Ms}, {p50, nth(Samples, Count div 2)}, {p99, nth(Samples, Count * 99 div 100)}].

calling(Server, {Destination, Relay, Reply, Note} = Parts, End, Samples) ->
    Before = erlang:monotonic_time(),
    Tag = monitor(process, Server, [{alias, demonitor}]),
    Server ! {'$gen_call', {self(), Tag}, {echo, Destination, result(Relay, Reply), Note}},
    receive {Tag, _} -> demonitor(Tag, [flush]) end,
    Sample = erlang:monotonic_time() - Before,
    case now_us() < End of
        true -> calling(Server, Parts, End, [Sample | Samples]);
        false -> [Sample | Samples]
    end.

server() ->
    receive {'$gen_call', {From, Tag}, {echo, Destination, _, _}} -> From ! {Tag, Destination}, server() end.

%% --- Ring

ring(Links, Tokens, Ms) ->
    Self = self(),
    Pids = [on(1, fun() -> receive {next, Next} -> link_of(Next, Self) end end) || _ <- lists:seq(1, Links)],
    [Pid ! {next, Next} || {Pid, Next} <- lists:zip(Pids, tl(Pids) ++ [hd(Pids)])],
    Starts = [lists:nth(I * (Links div Tokens) + 1, Pids) || I <- lists:seq(0, Tokens - 1)],
    [{rate, ring_until(Starts, Ms, 1000)}].

ring_until(Starts, Ms, Hops) ->
    {Destination, Relay, Reply, Note} = parts(),
    Start = now_us(),
    [Pid ! {token, Hops, Destination, result(Relay, Reply), Note} || Pid <- Starts],
    [receive done -> ok end || _ <- Starts],
    Spent = now_us() - Start,
    Rate = length(Starts) * (Hops + 1) * 1.0e6 / Spent,
    if Spent >= Ms * 1000 -> Rate;
       true -> ring_until(Starts, Ms, min(Hops * 4, trunc(Rate * Ms * 1.2 / 1000 / length(Starts)) + 1000))
    end.

link_of(Next, Main) ->
    receive
        {token, 0, _, _, _} -> Main ! done, link_of(Next, Main);
        {token, Hops, Destination, Result, Note} ->
            Next ! {token, Hops - 1, Destination, Result, Note},
            link_of(Next, Main)
    end.

%% --- Processes

idle() -> idle(0).
idle(Total) ->
    receive
        {add, By} -> idle(Total + By);
        {total, From} -> From ! {total, Total}, idle(Total);
        stop -> ok
    end.

spawn_rate(Ms) ->
    End = now_us() + Ms * 1300,
    Rates = lists:sort(tl(lists:reverse(spawn_rounds(End, [])))),
    [{rate, nth_rate(Rates)}].

nth_rate(Rates) -> lists:nth((length(Rates) + 1) div 2, Rates).

spawn_rounds(End, Rates) ->
    case length(Rates) >= 2 andalso now_us() >= End of
        true -> Rates;
        false ->
            Count = 20000,
            Start = now_us(),
            Pids = [spawn(fun idle/0) || _ <- lists:seq(1, Count)],
            lists:last(Pids) ! {total, self()},
            receive {total, _} -> ok end,
            Rate = Count * 1.0e6 / (now_us() - Start),
            [Pid ! stop || Pid <- Pids],
            timer:sleep(20),
            spawn_rounds(End, [Rate | Rates])
    end.

memory(Count) ->
    [spawn(fun idle/0) || _ <- lists:seq(1, 100)],
    erlang:garbage_collect(),
    Before = erlang:memory(processes),
    Pids = [spawn(fun idle/0) || _ <- lists:seq(1, Count)],
    lists:last(Pids) ! {total, self()},
    receive {total, _} -> ok end,
    erlang:garbage_collect(),
    After = erlang:memory(processes),
    [{octets, (After - Before - 16 * Count) / Count}].
