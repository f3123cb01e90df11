%% Plays the machines of machines.ts on OTP's gen_statem. Many at once, each with a clock of its own: nothing here
%% depends on another.
-module(otp_machines).
-behaviour(gen_statem).
-export([main/2]).
-export([callback_mode/0, init/1, handle_event/4, terminate/3]).

main(In, Out) ->
    process_flag(trap_exit, true),
    logger:set_primary_config(level, none),
    [code:ensure_loaded(M) || M <- [gen_statem, gen, proc_lib, maps, lists, erl_internal]],
    {ok, Scenarios} = file:consult(In),
    {ok, File} = file:open(Out, [write, raw, delayed_write]),
    together(Scenarios, File),
    ok = file:close(File).

%% Not too many: who is late tells another story.
together([], _) -> ok;
together(Scenarios, File) ->
    {Now, Later} = lists:split(min(60, length(Scenarios)), Scenarios),
    Self = self(),
    Drivers = [{maps:get(name, S), spawn_link(fun() -> Self ! {self(), drive(S)} end)} || S <- Now],
    [receive {Pid, Lines} -> file:write(File, [[$#, Name, $\n], [[L, $\n] || L <- Lines]]) end || {Name, Pid} <- Drivers],
    together(Later, File).

drive(#{steps := Steps, step_ms := Ms} = Scenario) ->
    {ok, Pid} = gen_statem:start(?MODULE, {self(), Scenario}, []),
    monitor(process, Pid),
    Start = erlang:monotonic_time(millisecond),
    drive(Pid, Steps, Start + Ms, Ms),
    exit(Pid, kill),
    lines().

drive(_, [], _, _) -> ok;
drive(Pid, [Batch | Rest], At, Ms) ->
    timer:sleep(max(0, At - erlang:monotonic_time(millisecond))),
    self() ! {note, <<">">>},
    [gen_statem:cast(Pid, Event) || Event <- Batch],
    drive(Pid, Rest, At + Ms, Ms).

lines() ->
    receive
        {'DOWN', _, process, _, killed} -> notes([]);
        {'DOWN', _, process, _, _} -> notes([<<"  ends">>])
    end.

notes(Last) -> receive {note, Text} -> [Text | notes(Last)] after 0 -> Last end.

callback_mode() -> [handle_event_function, state_enter].

init({Driver, #{table := Table, first := First}}) -> {ok, First, {Driver, Table}}.

handle_event(enter, _, State, {Driver, Table} = Data) ->
    note(Driver, [State, <<" enter">>]),
    {keep_state, Data, timeouts(maps:get({State, <<"enter">>}, Table, #{}))};
%% OTP 25 forgets a timer when a timeout of no time was set with it: then it tells of it in this way, and the trace says no more.
handle_event(info, {timeout, _, _}, _, {Driver, _}) ->
    note(Driver, <<"stray">>),
    keep_state_and_data;
handle_event(Type, Content, State, {Driver, Table} = Data) ->
    {Event, Text} = case {Type, Content} of
        {state_timeout, _} -> {<<"state">>, <<"state">>};
        {timeout, _} -> {<<"event">>, <<"event">>};
        {{timeout, Name}, _} -> {Name, Name};
        {_, [E, N]} -> {E, [E, $\s, integer_to_binary(N)]}
    end,
    note(Driver, [State, $\s, Text]),
    Does = maps:get({State, Event}, Table, #{}),
    Actions = case Does of #{postpone := true} -> [postpone]; _ -> [] end
        ++ [{next_event, internal, I} || I <- maps:get(insert, Does, [])]
        ++ timeouts(Does),
    case Does of
        #{stop := true} -> {stop, normal};
        #{next := Next} -> {next_state, Next, Data, Actions};
        #{repeat := true} -> {repeat_state, Data, Actions};
        _ -> {keep_state, Data, Actions}
    end.

timeouts(Does) ->
    [{state_timeout, time(T), x} || #{state := T} <- [Does]]
        ++ [{timeout, time(T), x} || #{event := T} <- [Does]]
        ++ [{{timeout, N}, time(T), x} || {N, T} <- maps:get(named, Does, [])].

time(never) -> infinity;
time(Ms) -> Ms.

terminate(_, _, _) -> ok.

note(Driver, Text) -> Driver ! {note, iolist_to_binary([<<"  ">>, Text])}.
