# kill -9 in the middle of every step of a migration: afterwards all is as before the step, the application goes on, and the
# step succeeds when it is taken again. The table always equals its plain twin, and so does the shadow once it is filled.
#
# Where to die is deterministic: at the n-th DDL command of a step, or the n-th batch of a job.

use strict;
use warnings FATAL => 'all';

use PgEncrypt::Test;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('kills', conf => "restart_after_crash = on");
$node->safe_psql('postgres', q{
	create role kills_owner;
	select encrypt.create_key('default');
	select encrypt.grant_key('default', 'kills_owner', 'encrypt', 'decrypt');
	create schema app authorization kills_owner;
	create schema test;

	-- A command of the shell is the one way to be killed as if by somebody else.
	create function test.die() returns void language plpgsql security definer as $$
	declare
		here integer := current_setting('test.here', true)::integer + 1;
	begin
		perform set_config('test.here', here::text, false);
		if here = current_setting('test.kill_at', true)::integer then
			execute format('copy (select) to program %L', 'kill -9 ' || pg_backend_pid());
			perform pg_sleep(60);
		end if;
	end $$;
	create function test.die_at_ddl() returns event_trigger language plpgsql as $$
	begin
		if current_setting('test.here', true) <> '' then perform test.die(); end if;
	end $$;
	create function test.die_at_batch() returns trigger language plpgsql as $$
	begin
		if current_setting('test.here', true) <> '' then perform test.die(); end if;
		return null;
	end $$;
	grant usage on schema test to kills_owner;
	create event trigger die on ddl_command_end execute function test.die_at_ddl();
	create trigger die after update on encrypt.job_chunks for each row execute function test.die_at_batch();

	create table app.users (id integer primary key, email varchar(60) not null, ssn text default 'none', n integer check (n > 0));
	create index on app.users (email);
	alter table app.users owner to kills_owner;
	create view app.emails as select id, email from app.users;
	alter view app.emails owner to kills_owner;
	insert into app.users select i, 'user' || i, case when i % 7 > 0 then repeat(i::text, 1 + i % 200) end, i
	from generate_series(1, 3000) i;
	create table test.twin as select id, email, ssn, n from app.users;
});

# What hangs on the schema, by name.
sub catalog
{
	return $node->safe_psql('postgres', q{
		select relkind, relname, relowner::regrole,
			-- The owner's own privileges are the same written down or not.
			(select array_agg(a::text order by a::text) from unnest(coalesce(relacl, acldefault('r', relowner))) a)
		from pg_class where relnamespace = 'app'::regnamespace order by 2;
		select attrelid::regclass, attname, format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid)
		from pg_attribute a join pg_class c on c.oid = attrelid left join pg_attrdef d on (adrelid, adnum) = (attrelid, attnum)
		where relnamespace = 'app'::regnamespace and relkind in ('r', 'v') and attnum > 0 and not attisdropped order by 1, 2;
		select conrelid::regclass, conname, pg_get_constraintdef(oid) from pg_constraint
		where connamespace = 'app'::regnamespace order by 1, 2;
		select indexrelid::regclass, pg_get_indexdef(indexrelid) from pg_index join pg_class c on c.oid = indexrelid
		where relnamespace = 'app'::regnamespace order by 1;
		select tgrelid::regclass, tgname, tgenabled from pg_trigger join pg_class c on c.oid = tgrelid
		where relnamespace = 'app'::regnamespace order by 1, 2;
		select typname from pg_type where typnamespace = 'app'::regnamespace order by 1;
		select migration_id, live, shadow, phase from encrypt.migrations order by 1});
}

# One of each, on both.
my $next = 10_000;
sub application_writes
{
	$next += 10;
	for my $table ('app.users', 'test.twin')
	{
		$node->safe_psql('postgres', qq{
			begin;
			insert into $table (id, email, ssn, n) values ($next, 'new', '078-05-1120', 1), ($next + 1, 'other', null, 2);
			update $table set email = 'changed', n = n + 1 where id = $next % 2999 + 1;
			update $table set id = -id where id = $next % 2713 + 2;
			delete from $table where id = $next % 2503 + 3;
			commit});
	}
	return;
}

sub is_equal
{
	my ($when) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($phase, $shadow) = split /\|/,
	  $node->safe_psql('postgres', q{select phase, shadow from encrypt.migrations order by migration_id desc limit 1}) || '|';
	my @tables = ('app.users', $phase =~ /^(backfilled|verified|cut_over)$/ ? $shadow : ());
	for my $table (@tables)
	{
		is($node->safe_psql('postgres', qq{
				select count(*) from (select id, email::text, ssn::text, n from $table) t
				full join test.twin w using (id) where (t.email, t.ssn, t.n) is distinct from (w.email::text, w.ssn, w.n)}),
			'0', "$table equals its twin $when");
	}
	return;
}

# Dies at the places that are given, if the step comes so far, and then lives. Returns how many times it died.
sub take
{
	my ($step, $statement, @places) = @_;
	my $died = 0;
	for my $place (@places)
	{
		my $before = catalog();
		my $offset = -s $node->logfile;
		my ($status) = $node->psql('postgres', "set test.here = 0; set test.kill_at = $place; $statement", timeout => 100);
		last if $status == 0;
		$died++;
		# The session is gone before the postmaster notices, which lets others in until then.
		$node->wait_for_log(qr/all server processes terminated; reinitializing/, $offset);
		$node->poll_query_until('postgres', 'select true') or die 'the server does not come back';
		# Jobs commit in between; DDL is all or nothing.
		is(catalog(), $before, "$step: killed at $place, all is as before") if $statement !~ /backfill|verify/;
		application_writes();
		is_equal("after a kill at $place of $step");
	}
	cmp_ok($died, '>=', 2, "$step was killed $died times");
	if ($died == @places)
	{
		$node->safe_psql('postgres', $statement);
	}
	application_writes();
	is_equal("after $step");
	return;
}

sub phase
{
	return $node->safe_psql('postgres', q{select phase from encrypt.migrations order by migration_id desc limit 1});
}

my $before = catalog();
my $start = q{select encrypt.start_migration('app.users', '{email, ssn}', search => '{email}')};

take('start', $start, 1, 2, 7, 15);
take('rollback before cutover', 'call encrypt.rollback_migration(' . migration() . ')', 1, 3);
$node->safe_psql('postgres', $start);
take('backfill', 'call encrypt.backfill(' . migration() . q{, '{"batch_rows": 300}')}, 1, 2, 4);
is(phase(), 'backfilled', 'the backfill has ended');
take('verification', 'call encrypt.verify(' . migration() . q{, '{"batch_rows": 300}')}, 1, 3);
is(phase(), 'verified', 'the verification has ended');
take('cutover', 'call encrypt.cutover(' . migration() . ')', 1, 2, 5, 9, 14, 20);
is(phase(), 'cut_over', 'the cutover has ended');
take('rollback after cutover', 'call encrypt.rollback_migration(' . migration() . ')', 1, 4, 9, 16);
is(phase(), 'rolled_back', 'all the way back');
is(without_migrations(catalog()), without_migrations($before), 'and nothing is left behind');
$node->safe_psql('postgres', $start);
$node->safe_psql('postgres', "call encrypt.$_(" . migration() . ')') for qw(backfill verify cutover);
take('finalize', 'call encrypt.finalize_migration(' . migration() . ')', 1, 2);
is(phase(), 'finalized', 'the migration has ended');

# Those that were ended are remembered.
sub without_migrations
{
	my ($catalog) = @_;
	return $catalog =~ s/^\d+\|.*\n?//mgr =~ s/\s+$//r;
}

sub migration
{
	return $node->safe_psql('postgres', 'select max(migration_id) from encrypt.migrations');
}

$node->stop;
done_testing();
