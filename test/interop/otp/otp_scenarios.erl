%% Plays the scenarios of ../otp/scenarios.ts on OTP's own supervisor and gen_server, and writes what happened.
%%
%% main(In, Out): In holds one scenario per Erlang term, see scenario.ts; Out gets the lines of each trace.
%% Everything notable is reported to a tracer by a call, so the order of notes is the order of causes. It runs
%% with one scheduler: when no other process is runnable for some turns, a step has settled.
-module(otp_scenarios).
-behaviour(gen_server).
-export([main/2, play_all/3, settle/0, start_sup/1, start_worker/1, start_instance/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

main(In, Out) -> play_all(In, Out, fun play/1).

%% Plays each of a file's scenarios by `Play`, which returns the lines of its trace.
play_all(In, Out, Play) ->
    logger:set_primary_config(level, none),
    process_flag(trap_exit, true),
    %% Code that is loaded on first use would wait for the disk, where `settle` does not see it.
    [code:ensure_loaded(M) || App <- [kernel, stdlib],
                              begin application:load(App), {ok, Modules} = application:get_key(App, modules), true end,
                              M <- Modules],
    {ok, Scenarios} = file:consult(In),
    {ok, File} = file:open(Out, [write, raw, delayed_write]),
    [file:write(File, [[$#, maps:get(name, S), $\n], [[L, $\n] || L <- Play(S)]]) || S <- Scenarios],
    ok = file:close(File).

%% --- The driver

play(#{top := Top, steps := Steps} = Scenario) ->
    Tracer = spawn_link(fun() -> tracer(#{notes => [], ends => [], answers => [], pids => #{}, ids => #{}, counts => #{},
                                          sups => [], names => #{}, lives => #{}}) end),
    register(tracer, Tracer),
    put(base, undefined),
    put(top, undefined),
    put(collapse, maps:get(collapse, Scenario, false)),
    put(unordered, false),
    Started = start_top(Top),
    settle(20),
    First = step_lines(<<"start">>, Started),
    Rest = lists:append([step(S) || S <- Steps]),
    case get(top) of
        undefined -> ok;
        Pid -> exit(Pid, kill)
    end,
    Left = ask({living}),
    [exit(P, kill) || P <- Left],
    settle(20),
    unlink(Tracer),
    exit(Tracer, kill),
    settle(20),
    flush(),
    First ++ Rest.

%% Asynchronous, because the start may wait at a gate.
start_top(Top) ->
    Driver = self(),
    Owner = spawn(fun() ->
        process_flag(trap_exit, true),
        #{start := {M, F, A}} = spec(Top),
        case apply(M, F, A) of
            {ok, Pid} -> answer(<<"start">>, <<"ok">>), Driver ! {top, self(), Pid}, own(Pid);
            ignore -> answer(<<"start">>, <<"ignored">>);
            {error, _} -> answer(<<"start">>, <<"failed">>)
        end
    end),
    put(owner, Owner),
    [].

%% The parent of the top supervisor.
own(Pid) ->
    receive
        stop -> exit(Pid, shutdown), own(Pid);
        {'EXIT', Pid, _} -> ok
    end.

flush() -> receive _ -> flush() after 0 -> ok end.

settle() -> settle(20).

settle(0) -> ok;
settle(N) ->
    erlang:yield(),
    case erlang:statistics(total_active_tasks_all) of
        1 -> settle(N - 1);
        _ -> settle(20)
    end.

step({until, Text, Times}) ->
    until(Text, Times),
    [];
step({wait, Ms} = Step) ->
    timer:sleep(Ms),
    settle(20),
    step_lines(title(Step), []);
step({second, N} = Step) ->
    to_second(N),
    settle(20),
    step_lines(title(Step), []);
step({now, Step}) ->
    do(Step),
    [];
step({unordered, Step}) ->
    put(unordered, true),
    do(Step),
    settle(20),
    step_lines(title(Step), []);
step(Step) ->
    do(Step),
    settle(20),
    step_lines(title(Step), []).

until(Text, Times) ->
    case ask({count_notes, Text}) of
        N when N >= Times -> ok;
        _ -> erlang:yield(), until(Text, Times)
    end.

%% OTP counts restarts by whole seconds of the monotonic clock: to hit a boundary, start with a full one.
to_second(N) ->
    case get(base) of
        undefined ->
            Now = erlang:monotonic_time(1),
            sleep_to((Now + 1) * 1000),
            put(base, Now + 1);
        _ -> ok
    end,
    sleep_to((get(base) + N) * 1000).

sleep_to(Ms) ->
    Now = erlang:monotonic_time(millisecond),
    timer:sleep(max(0, Ms + 20 - Now)).

%% Truly at once: nothing is asked in between, so no other process runs.
do({all, Steps}) ->
    put(known, maps:from_list([{Id, pid(Id)} || {_, Id} <- Steps, is_binary(Id)] ++ [{Id, pid(Id)} || {exit, Id, _} <- Steps])),
    [do(S) || S <- Steps],
    put(known, #{});
do({second, N}) -> to_second(N);
do({wait, Ms}) -> timer:sleep(Ms);
do({exit, Id, Reason}) -> [gen_server:cast(Pid, {stop, Reason}) || Pid <- [pid(Id)], Pid =/= none];
do({link, Id, To}) -> [gen_server:cast(Pid, {link, Other}) || Pid <- [pid(Id)], Pid =/= none, Other <- [pid(To)], Other =/= none];
do({kill, Id}) -> [exit(Pid, kill) || Pid <- [pid(Id)], Pid =/= none];
do({release, Id}) -> pid(Id) ! release;
do({start, Sup, #{kind := instance, id := Id} = Node} = Step) ->
    ask({life, Id, Node}),
    request(Step, Sup, fun(S) -> supervisor:start_child(S, [Id]) end);
do({start, Sup, Node} = Step) -> request(Step, Sup, fun(S) -> supervisor:start_child(S, spec(Node)) end);
do({terminate, Sup, Id} = Step) -> request(Step, Sup, fun(S) -> supervisor:terminate_child(S, Id) end);
do({terminate_instance, Sup, Id} = Step) ->
    [request(Step, Sup, fun(S) -> supervisor:terminate_child(S, Pid) end) || Pid <- [pid(Id)], Pid =/= none];
do({restart, Sup, Id} = Step) -> request(Step, Sup, fun(S) -> supervisor:restart_child(S, Id) end);
do({delete, Sup, Id} = Step) -> request(Step, Sup, fun(S) -> supervisor:delete_child(S, Id) end);
do(stop) -> get(owner) ! stop.

request(Step, Sup, Call) ->
    Pid = pid(Sup),
    Title = title(Step),
    spawn(fun() -> answer(Title, try is_pid(Pid) orelse exit(noproc), Call(Pid) of R -> result(R) catch exit:_ -> <<"down">> end) end).

answer(Title, Text) -> ask({answer, [Title, <<": ">>, Text]}).

result(ok) -> <<"ok">>;
result({ok, undefined}) -> <<"ignored">>;
result({ok, _}) -> <<"ok">>;
result({error, {already_started, _}}) -> <<"already_started">>;
result({error, E}) when E =:= already_present; E =:= not_found; E =:= running; E =:= restarting;
                        E =:= simple_one_for_one -> atom_to_binary(E);
result({error, E}) when element(1, E) =:= invalid_restart_type; element(1, E) =:= invalid_shutdown;
                        element(1, E) =:= invalid_significant; element(1, E) =:= bad_combination -> <<"invalid">>;
result({error, _}) -> <<"failed">>.

title({all, Steps}) -> lists:join(<<" & ">>, [title(S) || S <- Steps]);
title({start, Sup, #{id := Id}}) -> [<<"start ">>, Sup, $/, Id];
title({exit, Id, Reason}) -> [<<"exit ">>, Id, $\s, atom_to_binary(Reason)];
title({link, Id, To}) -> [<<"link ">>, Id, $\s, To];
title({wait, Ms}) -> [<<"wait ">>, integer_to_binary(Ms)];
title({second, N}) -> [<<"second ">>, integer_to_binary(N)];
title({terminate_instance, Sup, Id}) -> [<<"terminate ">>, Sup, $/, Id];
title({What, Sup, Id}) -> [atom_to_binary(What), $\s, Sup, $/, Id];
title({What, Id}) -> [atom_to_binary(What), $\s, Id];
title(What) -> atom_to_binary(What).

step_lines(Title, _) ->
    receive {top, _, Pid} -> put(top, Pid) after 0 -> ok end,
    {Notes, Ends, Answers} = ask({take}),
    Ordered = case get(unordered) of true -> lists:sort(Notes); false -> Notes end,
    put(unordered, false),
    Shown = case get(collapse) of true -> collapse(Ordered); false -> Ordered end,
    [iolist_to_binary([<<"> ">>, Title])]
        ++ [[<<"  ">>, N] || N <- Shown]
        ++ [[<<"  ">>, E] || E <- lists:sort(Ends)]
        ++ [[<<"  = ">>, A] || A <- lists:sort([iolist_to_binary(A) || A <- Answers])]
        ++ lists:append([rows(S) || S <- ask({sups})]).

collapse([A, A | Rest]) -> collapse([A | Rest]);
collapse([A | Rest]) -> [A | collapse(Rest)];
collapse([]) -> [].

rows({Id, Pid, Simple}) ->
    case is_process_alive(Pid) of
        false -> [];
        true ->
            Driver = self(),
            Ref = make_ref(),
            Asker = spawn(fun() ->
                try
                    Driver ! {Ref, {supervisor:which_children(Pid), supervisor:count_children(Pid)}}
                catch exit:_ -> gone
                end
            end),
            settle(20),
            receive
                {Ref, {Rows, Counts}} -> [row_text(Id, Simple, Rows, Counts)]
            after 0 ->
                exit(Asker, kill),
                [[<<"  ">>, Id, <<" busy">>]]
            end
    end.

row_text(Id, Simple, Rows, Counts) ->
    Texts = case Simple of
        true -> lists:sort([instance_text(P) || {_, P, _, _} <- Rows]);
        false -> [[I, $\s, state(P)] || {I, P, _, _} <- lists:reverse(Rows)]
    end,
    Numbers = [integer_to_binary(proplists:get_value(K, Counts)) || K <- [specs, active, supervisors, workers]],
    [<<"  ">>, Id, <<" [">>, lists:join(<<", ">>, Texts), <<"] ">>, lists:join($/, Numbers)].

state(restarting) -> <<"restarting">>;
state(undefined) -> <<"stopped">>;
state(_) -> <<"running">>.

instance_text(restarting) -> <<"? restarting">>;
instance_text(Pid) -> iolist_to_binary([ask({id, Pid}), $\s, state(Pid)]).

pid(Id) ->
    case get(known) of
        #{Id := Pid} -> Pid;
        _ -> ask({pid, Id})
    end.

%% --- The tracer

ask(Request) ->
    Mon = monitor(process, tracer),
    tracer ! {ask, self(), Mon, Request},
    receive
        {Mon, Answer} -> demonitor(Mon, [flush]), Answer;
        {'DOWN', Mon, process, _, _} -> exit(normal)
    end.

tracer(State) ->
    receive
        {ask, From, Ref, Request} ->
            {Answer, Next} = traced(Request, From, State),
            From ! {Ref, Answer},
            tracer(Next);
        {'DOWN', _, process, Pid, Reason} ->
            #{ends := Ends, ids := Ids} = State,
            Text = [<<"end ">>, maps:get(Pid, Ids), $\s, kind(Reason)],
            tracer(State#{ends := [iolist_to_binary(Text) | Ends]})
    end.

%% A process starts: the tracer knows how often it did before, and so what its init is to do.
traced({starting, Id, Life, Simple}, Pid, #{counts := Counts, lives := Lives} = S) ->
    N = maps:get(Id, Counts, 0) + 1,
    {List, Goodbye} = case Lives of
        #{Id := #{life := L, goodbye := G}} -> {L, G};
        _ -> Life
    end,
    Do = case length(List) >= N of true -> lists:nth(N, List); false -> ok end,
    monitor(process, Pid),
    #{pids := Pids, ids := Ids, sups := Sups} = S,
    S1 = S#{counts := Counts#{Id => N}, pids := Pids#{Id => Pid}, ids := Ids#{Pid => Id}},
    S2 = case Simple of
        none -> S1;
        _ -> S1#{sups := lists:keystore(Id, 1, Sups, {Id, Pid, Simple})}
    end,
    Word = case Do of ok -> <<"start">>; _ -> atom_to_binary(Do) end,
    {{Do, Goodbye}, note([Word, $\s, Id], S2)};
traced({note, Text}, _, S) -> {ok, note(Text, S)};
traced({life, Id, Node}, _, #{lives := Lives} = S) -> {ok, S#{lives := Lives#{Id => Node}}};
traced({answer, Text}, _, #{answers := A} = S) -> {ok, S#{answers := [Text | A]}};
traced({take}, _, #{notes := N, ends := E, answers := A} = S) ->
    {{lists:reverse(N), E, A}, S#{notes := [], ends := [], answers := []}};
traced({count_notes, Text}, _, #{notes := N} = S) -> {length([T || T <- N, T =:= Text]), S};
traced({pid, Id}, _, #{pids := Pids} = S) -> {maps:get(Id, Pids, none), S};
traced({id, Pid}, _, #{ids := Ids} = S) -> {maps:get(Pid, Ids, <<"?">>), S};
traced({sups}, _, #{sups := Sups} = S) -> {Sups, S};
traced({living}, _, #{ids := Ids} = S) -> {[P || P <- maps:keys(Ids), is_process_alive(P)], S}.

note(Text, #{notes := Notes} = S) -> S#{notes := [iolist_to_binary(Text) | Notes]}.

kind(normal) -> <<"normal">>;
kind(shutdown) -> <<"shutdown">>;
kind({shutdown, _}) -> <<"shutdown">>;
kind(killed) -> <<"killed">>;
kind(noproc) -> <<"no_actor">>;
kind(_) -> <<"error">>.

%% --- What is supervised

spec(#{kind := sup, id := Id} = Node) ->
    extra(#{id => Id, start => {?MODULE, start_sup, [Node]}, type => supervisor}, Node);
spec(#{kind := worker, id := Id} = Node) ->
    extra(#{id => Id, start => {?MODULE, start_worker, [Node]}}, Node);
spec(#{kind := template, id := Id} = Node) ->
    extra(#{id => Id, start => {?MODULE, start_instance, [Node]}}, Node).

extra(Spec, Node) -> maps:merge(Spec, maps:with([restart, shutdown, significant], Node)).

start_sup(Node) -> supervisor:start_link(?MODULE, Node).
start_worker(#{name := Name} = Node) -> gen_server:start_link({local, binary_to_atom(Name)}, ?MODULE, Node, []);
start_worker(Node) -> gen_server:start_link(?MODULE, Node, []).
start_instance(_Template, Id) -> gen_server:start_link(?MODULE, #{kind => worker, id => Id, life => [], goodbye => ok}, []).

init(#{kind := sup, id := Id, strategy := Strategy, children := Children} = Node) ->
    Simple = Strategy =:= simple_one_for_one,
    {Do, _} = ask({starting, Id, {maps:get(life, Node, []), ok}, Simple}),
    case Do of
        fail -> error(failed);
        ignore -> ignore;
        _ ->
            wait(Do),
            Flags = maps:merge(#{strategy => Strategy}, maps:with([intensity, period, auto_shutdown], Node)),
            {ok, {Flags, [spec(C) || C <- Children]}}
    end;
init(#{kind := worker, id := Id} = Node) ->
    process_flag(trap_exit, maps:get(traps, Node, true)),
    {Do, Goodbye} = ask({starting, Id, {maps:get(life, Node, []), maps:get(goodbye, Node, ok)}, none}),
    case Do of
        fail -> error(failed);
        fail_shutdown -> {stop, shutdown};
        fail_normal -> {stop, normal};
        ignore -> ignore;
        _ -> wait(Do), {ok, {Id, Goodbye}}
    end.

wait(gate) -> receive release -> ok end;
wait(_) -> ok.

handle_call(_, _, State) -> {reply, ok, State}.

%% A link to nobody is an error here, and an exit in ours.
handle_cast({link, Pid}, State) ->
    try link(Pid), {noreply, State} catch error:noproc -> put(quiet, true), exit(noproc) end;
handle_cast({stop, shutdown_term}, State) -> {stop, {shutdown, because}, State};
handle_cast({stop, Reason}, State) -> {stop, Reason, State}.

handle_info(_, State) -> {noreply, State}.

terminate(Reason, {Id, Goodbye}) ->
    get(quiet) =:= true orelse goodbye(Reason, Id, Goodbye).

goodbye(Reason, Id, Goodbye) ->
    ask({note, [<<"stop ">>, Id, $\s, kind(Reason)]}),
    case Goodbye of
        ok -> ok;
        hang -> receive never -> ok end;
        fail -> error(goodbye);
        gate -> receive release -> ok end
    end.
