# The leak hunt (case C-95): random plaintexts and known keys, every function called in ways that work and ways that
# fail, everything logged that can be logged. Then nothing of them is in logs, statistics, WAL, data files or dumps.
#
# Plaintext gets in by COPY and as parameters, as the documentation asks for: whoever writes it into a statement has it
# logged with the statement. Not promised, and not looked for: plaintext in the memory of a backend, in the temporary
# files of a sort over decrypted values, and in indexes or statistics that somebody makes over decrypted values.

use strict;
use warnings FATAL => 'all';

use PgEncrypt::Canary;
use PgEncrypt::Session;
use PgEncrypt::Test;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('leaks', conf => <<'CONF');
shared_preload_libraries = 'pg_encrypt, pg_stat_statements, auto_explain'
log_statement = all
log_min_duration_statement = 0
log_min_messages = debug1
log_min_error_statement = debug1
log_error_verbosity = verbose
log_parameter_max_length = 0
log_parameter_max_length_on_error = 0
log_temp_files = 0
auto_explain.log_min_duration = 0
auto_explain.log_verbose = on
auto_explain.log_analyze = on
pg_stat_statements.track = all
pg_stat_statements.track_utility = on
track_activity_query_size = 16kB
wal_level = logical
max_wal_senders = 4
autovacuum = off
CONF
my $work = $PostgreSQL::Test::Utils::tmp_check . '/leaks';
mkdir $work or die "$work: $!";
my ($root) = slurp_file(root_key_path($node)) =~ /(\w+)/;
my %plain  = map { $_ => canary($_) } qw(name context row note);
my %secrets = (%plain, 'root key' => pack('H*', $root));

# The canaries come by COPY from a file. A table of the test's own holds them while the functions run: unlogged, and in
# another tablespace, whose directory is not looked through.
append_to_file("$work/rows",
	join '', map { join("\t", $_, @plain{qw(name context row)}, $plain{note} x 50) . "\n" } 1 .. 200);
mkdir "$work/space" or die "$work/space: $!";
$node->safe_psql('postgres', "create tablespace plain location '$work/space'");
$node->safe_psql('postgres', qq{
	create extension pg_stat_statements;
	create unlogged table plain (id integer, name text, context text, row_id text, note text) tablespace plain;
	alter table plain alter name set statistics 0, alter context set statistics 0, alter row_id set statistics 0,
		alter note set statistics 0, alter note set storage external;
	copy plain from '$work/rows';
	select encrypt.create_key('default');
	create role regress_stranger login;
	grant select on plain to regress_stranger;
});

# Every function that sees plaintext, and what makes it fail.
$node->safe_psql('postgres', q{
	set client_min_messages = error;
	set pg_encrypt.compress = on;
	create table t as
	select id, encrypt.encrypt_column(name) as name, encrypt.encrypt_column(note, 'default', context, row_id) as note,
		encrypt.encrypt_deterministic(name) as fixed, encrypt.blind_index(name) as token,
		encrypt.blind_index_all(note, 'default', context) as tokens, encrypt.encrypt_column(convert_to(note, 'UTF8')) as bytes
	from plain;
	create index on t (token);
	alter table t add unique (id);
	update t set name = encrypt.reencrypt_column(name);
	select encrypt.rotate_key('default');
	update t set name = encrypt.reencrypt_column(t.name), note = encrypt.reencrypt_column(t.note, null, p.context, p.row_id)
		from plain p where p.id = t.id;
	analyze;
	checkpoint;
	prepare p (integer) as select encrypt.decrypt_column(name) from t where id = $1;
	do $$ begin for i in 1..10 loop execute 'execute p(1)'; end loop; end $$;
	explain (analyze, verbose) select encrypt.decrypt_column(t.note, p.context, p.row_id) from t join plain p using (id)
		where token = encrypt.blind_index(p.name);
	select count(encrypt.decrypt_bytes(name)), count(encrypt.decrypt_as(name, null::text)) from t;
});

# As parameters. auto_explain is off for these: the planner puts the values of parameters into plans that are made for
# one execution, and auto_explain prints them, in conditions always and elsewhere with log_verbose. No extension can
# prevent that; the documentation warns of it.
$node->safe_psql('postgres', q{
	set client_min_messages = error;
	set auto_explain.log_min_duration = -1;
	do $$
	declare
		r record;
	begin
		for r in select * from plain loop
			execute 'insert into t (id, name, token) select 1000 + $1, encrypt.encrypt_column($2), encrypt.blind_index($2, context => $3)'
				using r.id, r.name, r.context;
		end loop;
	end $$;
	do $$
	declare
		r record;
	begin
		select * into r from plain limit 1;
		execute 'select encrypt.decrypt_column(encrypt.encrypt_column($1, context => $2), $1)' using r.name, r.context;
	exception when external_routine_invocation_exception then
		raise log 'failed as it should: %', sqlerrm;
	end $$;
});
is($node->safe_psql('postgres', 'select count(*) from t'), 400, 'all rows are there');

my @failing = (
	[ '39000', 'select encrypt.decrypt_column(t.note, context) from t join plain using (id)' ],
	[ '39000', 'select encrypt.decrypt_column(t.name, context, row_id) from t join plain using (id)' ],
	[ '22P02', 'select encrypt.decrypt_as(name, null::integer) from t' ],
	[ '42704', q{select encrypt.encrypt_column(note, 'missing', context, row_id) from plain} ],
	[ '42704', q{select encrypt.blind_index(note, 'missing', context) from plain} ],
	[ '22023', q{select encrypt.blind_index(note, 'default', context, 'missing') from plain} ],
	[ '22023', q{select encrypt.blind_index(note, 'default', context, 'exact', 7) from plain} ],
	[ '22023', 'select encrypt.create_key(repeat(note, 2)) from plain' ],
	[ '22004', 'select encrypt.encrypt_column(note, null) from plain' ],
	[ '22P03', 'select encrypt.decrypt_column(note::bytea::encrypt.ciphertext) from plain' ],
	[ '22P03', 'select name::encrypt.ciphertext from plain' ],
	[ '42501', 'select encrypt.encrypt_column(note) from plain', 'regress_stranger' ],
	[ '42501', 'select encrypt.blind_index(note) from plain', 'regress_stranger' ]);
for (@failing)
{
	my ($state, $sql, $role) = @$_;
	my ($sqlstate, $said) = sql_error($node, $sql, $role ? (extra_params => [ '-U', $role ]) : ());
	my @repeated = found_in(\$said, \%secrets);
	is_deeply(\@repeated, [], "without a secret: $sql");
	is($sqlstate, $state, "fails: $sql") or diag($said);
}

# The data keys, with which everything could be read.
if ($ENV{PG_ENCRYPT_PYTHON})
{
	my @keys = split /\n/, $node->safe_psql('postgres', q{
		select concat_ws(e'\t', 'key', key_id, purpose, encode(wrapped_key, 'hex'), encode(check_value, 'hex'), root_id)
		from encrypt.keys});
	my @ids = map { (split /\t/)[1] } @keys;
	my $in  = join '', map { "$_\n" } @keys, map { "dek\t$_" } @ids;
	my $out = '';
	IPC::Run::run([ $ENV{PG_ENCRYPT_PYTHON}, 'lib/reference_peer.py', $root ], '<', \$in, '>', \$out) or die 'reference';
	my @deks = grep { /^[0-9a-f]{64}$/ } split /\n/, $out;
	is(scalar @deks, scalar @keys, 'all data keys are known');
	$secrets{"data key $_"} = pack 'H*', $deks[$_] for 0 .. $#deks;
}

# What SQL shows of the past, with everything in one text.
my $session = session($node);
$session->query_safe('select encrypt.decrypt_column(name) from t limit 1');
for my $view (qw(pg_stats pg_stat_statements pg_stat_activity pg_prepared_statements pg_settings pg_file_settings))
{
	my $content = $node->safe_psql('postgres', "select * from $view");
	my @found   = found_in(\$content, \%secrets);
	is_deeply(\@found, [], "nothing in $view") unless $view eq 'pg_prepared_statements' && $content eq '';
}
$session->query_safe('select pg_log_backend_memory_contexts(pg_backend_pid())');
$session->quit;
is($node->safe_psql('postgres', q{select count(*) > 0 from pg_stats where tablename = 't'}), 't', 'there are statistics to look at');
cmp_ok($node->safe_psql('postgres', q{select count(*) from pg_stat_statements where query like '%encrypt_column%'}),
	'>', 3, 'and statements');

$node->command_ok([ 'pg_dump', '-Fp', '-T', 'plain', '-f', "$work/dump", 'postgres' ], 'dumped');
lacks_canaries("$work/dump", \%secrets, 'nothing in a dump');

$node->safe_psql('postgres', 'checkpoint');
$node->stop;
my $log = slurp_file($node->logfile);
like($log, qr/encrypt\.encrypt_column\(note/, 'statements are in the log');
like($log, qr/Query Text|QUERY PLAN/i, 'plans are in the log');
like($log, qr/failed as it should: could not decrypt value/, 'errors are in the log');
lacks_canaries($node->logfile, \%secrets, 'nothing in the log');
my $data = $node->data_dir;
lacks_canaries("$data/pg_wal", \%secrets, 'nothing in WAL');
lacks_canaries("$data/base", \%secrets, 'nothing in the files of tables and indexes');
lacks_canaries($data, \%secrets, 'nothing elsewhere in the data directory');

# All of that means something only if the search finds what is there.
my @there = grep { found_in(\slurp_file($_), \%plain) } files_below("$work/space");
cmp_ok(scalar @there, '>', 0, 'the plaintext is found where the test has put it');
done_testing();
