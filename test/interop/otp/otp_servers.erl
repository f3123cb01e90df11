%% Plays the scenarios of servers.ts on OTP's gen_server: links, monitors, exits, names, calls. What each server heard is
%% noted by receiver and sender, as Erlang promises an order for each pair and for nothing else.
-module(otp_servers).
-behaviour(gen_server).
-export([main/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, handle_continue/2, terminate/2]).

main(In, Out) -> otp_scenarios:play_all(In, Out, fun play/1).

play(#{servers := Servers, steps := Steps}) ->
    ets:new(pids, [named_table, public]),
    Tracer = spawn_link(fun() -> tracer([]) end),
    register(tracer, Tracer),
    [{ok, _} = gen_server:start_link(?MODULE, {Id, Traps}, []) || [Id, Traps] <- Servers],
    otp_scenarios:settle(),
    Lines = lists:append([step(S) || S <- Steps]),
    [exit(Pid, kill) || {Pid, _} <- ets:tab2list(pids), is_pid(Pid)],
    otp_scenarios:settle(),
    unlink(Tracer),
    exit(Tracer, kill),
    otp_scenarios:settle(),
    ets:delete(pids),
    flush(),
    Lines.

flush() -> receive _ -> flush() after 0 -> ok end.

step(Step) ->
    do(Step),
    otp_scenarios:settle(),
    tracer ! {take, self()},
    receive {taken, Notes} -> ok end,
    %% A stable sort by receiver and sender.
    Sorted = lists:keysort(1, lists:reverse(Notes)),
    [<<">">>] ++ [[<<"  ">>, K, <<": ">>, T] || {K, T} <- Sorted].

do([<<"all">> | Steps]) -> [do(S) || S <- Steps];
do([<<"do">>, Id, Ops]) -> tell(Id, {do, Ops});
do([<<"kill">>, Id]) -> [exit(Pid, kill) || Pid <- pid(Id)];
do([<<"wait">>, Ms]) -> timer:sleep(Ms);
do([<<"call">>, Tag, Id, What, Ms]) ->
    spawn(fun() ->
        Answer = try call(Id, What, Ms) of V -> [<<"answered ">>, V] catch exit:{R, _} -> failed(R) end,
        note([Tag], Answer)
    end),
    otp_scenarios:settle().

call(Id, What, Ms) ->
    case pid(Id) of
        [] -> exit({noproc, none});
        [Pid] -> gen_server:call(Pid, What, case Ms of 0 -> infinity; _ -> Ms end)
    end.

failed(timeout) -> <<"timeout">>;
failed(noproc) -> <<"noproc">>;
failed(Reason) -> [<<"down ">>, kind(Reason)].

tell(Id, Message) -> [gen_server:cast(Pid, Message) || Pid <- pid(Id)].

pid(Id) -> [Pid || {_, Pid} <- ets:lookup(pids, Id)].
id(Pid) -> case ets:lookup(pids, Pid) of [{_, Id}] -> Id; [] -> <<"?">> end.

tracer(Notes) ->
    receive
        {started, Pid} -> monitor(process, Pid), tracer(Notes);
        {note, Key, Text} -> tracer([{Key, Text} | Notes]);
        {'DOWN', _, process, Pid, Reason} -> tracer([{id(Pid), [<<"ends ">>, kind(Reason)]} | Notes]);
        {take, From} -> From ! {taken, Notes}, tracer([])
    end.

note(Key, Text) -> tracer ! {note, iolist_to_binary(Key), iolist_to_binary(Text)}.

kind(normal) -> <<"normal">>;
kind(shutdown) -> <<"shutdown">>;
kind({shutdown, _}) -> <<"shutdown">>;
kind(killed) -> <<"killed">>;
kind(noproc) -> <<"noproc">>;
kind(_) -> <<"error">>.

reason(<<"term">>) -> {shutdown, because};
reason(Text) -> binary_to_atom(Text).

init({Id, Traps}) ->
    process_flag(trap_exit, Traps),
    ets:insert(pids, [{Id, self()}, {self(), Id}]),
    tracer ! {started, self()},
    {ok, #{id => Id, pending => [], monitors => #{}}}.

handle_cast({do, Ops}, State) -> ops(Ops, State);
handle_cast({got, From, Text}, #{id := Id} = State) ->
    note([Id, <<" < ">>, From], [<<"got ">>, Text]),
    {noreply, State}.

handle_call(<<"now">>, _, State) -> {reply, <<"now">>, State};
handle_call(<<"later">>, From, #{pending := P} = State) -> {noreply, State#{pending := [From | P]}};
handle_call(<<"throw">>, _, _) -> error(boom);
handle_call(<<"exit">>, _, _) -> exit({shutdown, because});
handle_call(<<"bad">>, _, _) -> nothing_known;
handle_call(<<"stop_", Reason/binary>>, _, State) -> {stop, reason(Reason), State};
handle_call(<<"reply_stop_", Reason/binary>>, _, State) -> {stop, reason(Reason), <<"bye">>, State}.

handle_info({'EXIT', Pid, Reason}, #{id := Id} = State) ->
    note([Id, <<" < ">>, id(Pid)], [<<"exit ">>, kind(Reason)]),
    {noreply, State};
handle_info({'DOWN', Ref, process, Pid, Reason}, #{id := Id, monitors := Monitors} = State) ->
    note([Id, <<" < ">>, id(Pid)], [<<"down ">>, kind(Reason)]),
    {noreply, State#{monitors := maps:filter(fun(_, R) -> R =/= Ref end, Monitors)}};
handle_info({ring, Text}, #{id := Id} = State) ->
    note([Id, <<" < ">>, Id], [<<"rings ">>, Text]),
    {noreply, State}.

handle_continue(Text, #{id := Id} = State) ->
    note([Id, <<" < ">>, Id], [<<"continues ">>, Text]),
    {noreply, State}.

%% A link to nobody is an error of the caller here, and an exit in ours.
terminate(Reason, #{id := Id}) ->
    [note([Id, <<" <">>], [<<"terminates ">>, kind(Reason)]) || get(quiet) =:= undefined].

ops([], State) -> {noreply, State};
ops([[<<"stop">>, Reason] | _], State) -> {stop, reason(Reason), State};
ops([[<<"throw">>] | _], _) -> error(boom);
ops([[<<"continue">>, Text] | _], State) -> {noreply, State, {continue, Text}};
ops([Op | Rest], State) -> ops(Rest, op(Op, State)).

op([<<"tell">>, To, Text], #{id := Id} = S) -> tell(To, {got, Id, Text}), S;
op([<<"trap">>, Traps], S) -> process_flag(trap_exit, Traps), S;
op([<<"link">>, To], S) ->
    [try link(Pid) catch error:noproc -> put(quiet, true), exit(noproc) end || Pid <- pid(To)], S;
op([<<"unlink">>, To], S) -> [unlink(Pid) || Pid <- pid(To)], S;
op([<<"monitor">>, To], #{monitors := M} = S) ->
    case pid(To) of
        [Pid] -> S#{monitors := M#{To => monitor(process, Pid)}};
        [] -> S
    end;
op([<<"demonitor">>, To], #{monitors := M} = S) ->
    case M of
        #{To := Ref} -> demonitor(Ref, [flush]), S#{monitors := maps:remove(To, M)};
        _ -> S
    end;
op([<<"exit">>, To, Reason], S) -> [exit(Pid, reason(Reason)) || Pid <- pid(To)], S;
op([<<"spawn">>, New, Traps], S) -> {ok, _} = gen_server:start_link(?MODULE, {New, Traps}, []), S;
op([<<"register">>, Name], #{id := Id} = S) ->
    Result = try register(binary_to_atom(Name), self()), <<"registered">> catch error:badarg -> <<"taken">> end,
    note([Id, <<" <">>], Result), S;
op([<<"whereis">>, Name], #{id := Id} = S) ->
    Found = case whereis(binary_to_atom(Name)) of undefined -> <<"nobody">>; Pid -> id(Pid) end,
    note([Id, <<" <">>], [<<"finds ">>, Found]), S;
op([<<"after">>, Ms, Text], S) -> erlang:send_after(Ms, self(), {ring, Text}), S;
op([<<"answer">>], #{pending := P} = S) ->
    [gen_server:reply(From, <<"late">>) || From <- lists:reverse(P)],
    S#{pending := []}.
